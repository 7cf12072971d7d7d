import { feature } from '../constants.ts';
import type { VirtioHost } from '../device.ts';
import type { RequestLimiter } from '../limiter.ts';
import type { VirtQueue } from '../queue.ts';
import type { NetBackend } from './backend.ts';
import { HEADER_SIZE, MAX_FRAME_SIZE, NET_QUEUE_SIZE, RECEIVE_QUEUE, VIRTIO_NET_F_MRG_RXBUF } from './constants.ts';
import { checkReceiveHeader, NO_OFFLOADS, type Offloads, receiveOffloads } from './header.ts';
import type { NetMetrics } from './metrics.ts';
import { ReceiveBuffers } from './receive-buffers.ts';

/** Room that is given to a frame where frames are small: one of 1500 bytes with its Ethernet header and VLAN tag. */
const SMALL_FRAME = 1518;
/** So many frames without a larger one, and the room that is given follows. */
const WINDOW = 256;
/** Reads that are tried where nothing says how many frames there are. */
const FEWEST_READS = 2;
/** Batches that are taken at once, before others have their turn. */
const MAX_BATCHES = 4;
/** Buffers that one frame is read into at most: below Linux's IOV_MAX of 1024, with header and overflow. */
const MAX_PIECES = 1000;
/** Where num_buffers lies in a header. */
const NUM_BUFFERS = 10;

/**
 * The receiving half of a network device (virtio 1.2 section 5.1.6.4).
 *
 * The backend reads a batch of frames at once, straight into the guest's buffers: each frame is given as many chains as frames of late have
 * needed. What a frame leaves over is given to the next ones; where it needs more than it was given, the rest has come in the
 * backend's overflow and is copied to more chains. A frame that has come and cannot be shown yet (limiter, no buffers) waits.
 */
export class Receiver {
  readonly #backend: NetBackend;
  readonly #limiter: RequestLimiter | undefined;
  readonly #metrics: NetMetrics;
  #host: VirtioHost | undefined;
  #queue: VirtQueue | undefined;
  #buffers: ReceiveBuffers | undefined;
  #mergeable = false;
  #offloads: Offloads = NO_OFFLOADS;
  /** By frame of the batch: its chains in `#assigned` up to those of the next, how many it needs of them, room for data in all of them. */
  readonly #first: Uint16Array;
  readonly #needed: Uint16Array;
  readonly #room: Float64Array;
  readonly #assigned = new Uint16Array(NET_QUEUE_SIZE);
  /** Frames of the batch, and the first that is still to be shown. */
  #count = 0;
  #next = 0;
  /** Chains that the frame needs beyond those it was given, and their bytes. */
  readonly #extra = new Uint16Array(NET_QUEUE_SIZE);
  #extraCount = 0;
  #extraRoom = 0;
  /** Why frames wait. */
  #throttled = false;
  #starved = false;
  /** Frames that the next batch tries to read, and room that each is given. */
  #reads = FEWEST_READS;
  #expected = SMALL_FRAME;
  #largest = 0;
  #sinceReview = 0;

  constructor(backend: NetBackend, limiter: RequestLimiter | undefined, metrics: NetMetrics) {
    this.#backend = backend;
    this.#limiter = limiter;
    this.#metrics = metrics;
    this.#first = new Uint16Array(backend.batch + 1);
    this.#needed = new Uint16Array(backend.batch);
    this.#room = new Float64Array(backend.batch);
    limiter?.onReady(() => {
      this.#metrics.rx_event_rate_limiter_count++;
      this.#throttled = false;
      this.receive();
    });
  }

  activate(host: VirtioHost): void {
    this.#host = host;
    this.#queue = host.queues[RECEIVE_QUEUE]!;
    if (this.#buffers === undefined) this.#buffers = new ReceiveBuffers(host.memory);
    this.#mergeable = (host.features & feature(VIRTIO_NET_F_MRG_RXBUF)) !== 0n;
    this.#offloads = receiveOffloads(host.features);
    this.resetQueue();
  }

  reset(): void {
    this.resetQueue();
    this.#host = undefined;
    this.#queue = undefined;
  }

  /** Frames that wait to be shown are lost, as on a wire. */
  resetQueue(): void {
    this.#buffers?.clear();
    this.#count = 0;
    this.#next = 0;
    this.#extraCount = 0;
    this.#extraRoom = 0;
    this.#starved = false;
  }

  /** The driver has new buffers. Nobody needs to know of them unless a frame waits for one. */
  notify(): void {
    this.#metrics.rx_queue_event_count++;
    this.#starved = false;
    this.#queue!.watched = false;
    this.receive();
  }

  /** Shows the driver what frames there are. @returns whether there were any */
  receive(): boolean {
    const queue = this.#queue;
    if (!queue?.live || this.#throttled || this.#starved) return false;
    const before = this.#metrics.rx_packets_count;
    if (this.#showAll(queue)) this.#receiveBatches(queue);
    if (queue.publish()) this.#host!.interrupt(RECEIVE_QUEUE);
    return this.#metrics.rx_packets_count !== before;
  }

  #receiveBatches(queue: VirtQueue): void {
    const backend = this.#backend;
    for (let left = MAX_BATCHES; left > 0 && backend.readable; left--) {
      if (!this.#prepare(queue)) return;
      this.#metrics.rx_tap_event_count++;
      backend.receive();
      this.#settle();
      if (!this.#showAll(queue)) return;
    }
  }

  /** Gives room to the frames of a batch. @returns whether there is room for any */
  #prepare(queue: VirtQueue): boolean {
    const backend = this.#backend;
    const buffers = this.#buffers!;
    let count = 0;
    let assigned = 0;
    while (count < this.#reads) {
      let slot = buffers.take(queue);
      if (slot < 0) break;
      backend.beginReceive();
      this.#first[count] = assigned;
      let pieces = 0;
      let room = -HEADER_SIZE;
      for (;;) {
        this.#assigned[assigned++] = slot;
        room = this.#addRoom(slot, room);
        pieces += buffers.count(slot);
        if (!this.#mergeable || room >= this.#expected || pieces + NET_QUEUE_SIZE > MAX_PIECES) break;
        slot = buffers.take(queue);
        if (slot < 0) break;
      }
      this.#room[count] = room;
      count++;
    }
    this.#first[count] = assigned;
    this.#count = count;
    this.#next = 0;
    if (count === 0) this.#starve(queue);
    return count > 0;
  }

  /** Gives a chain to the frame that was begun last. @param room so much it has; negative: bytes of the header come first */
  #addRoom(slot: number, room: number): number {
    const buffers = this.#buffers!;
    const count = buffers.count(slot);
    let have = room;
    for (let i = 0; i < count && have < MAX_FRAME_SIZE; i++) {
      const length = buffers.length(slot, i);
      const header = Math.min(length, Math.max(0, -have));
      const taken = Math.min(length - header, MAX_FRAME_SIZE - Math.max(0, have));
      if (taken > 0) this.#backend.addReceive(buffers.offset(slot, i) + header, taken);
      have += header + taken;
    }
    return have;
  }

  /** Sees what came: puts back what chains no frame needs, and learns for the next batch. */
  #settle(): void {
    const { receivedLengths } = this.#backend;
    const buffers = this.#buffers!;
    let frames = 0;
    // Backwards, so that chains go back in the order in which they came.
    for (let i = this.#count - 1; i >= 0; i--) {
      const length = receivedLengths[i]!;
      const first = this.#first[i]!;
      let needed = 0;
      if (length > 0) {
        frames++;
        this.#learn(length);
        const chains = this.#first[i + 1]! - first;
        let room = -HEADER_SIZE;
        while (needed < chains && (needed === 0 || room < length)) {
          room += buffers.capacity(this.#assigned[first + needed]!);
          needed++;
        }
      } else if (length < 0) {
        this.#metrics.tap_read_fails++;
      }
      this.#needed[i] = needed;
      for (let k = this.#first[i + 1]! - 1; k >= first + needed; k--) buffers.putBack(this.#assigned[k]!);
    }
    const wanted = frames === this.#count ? 2 * frames : frames + 1;
    this.#reads = Math.min(this.#backend.batch, Math.max(FEWEST_READS, wanted));
  }

  /** More room at once where a frame has shown to need it, less when no frame has for a while. */
  #learn(length: number): void {
    if (length > this.#largest) this.#largest = length;
    if (length > this.#expected) this.#expected = MAX_FRAME_SIZE;
    if (++this.#sinceReview < WINDOW) return;
    this.#expected = Math.max(SMALL_FRAME, this.#largest);
    this.#sinceReview = 0;
    this.#largest = 0;
  }

  /** Shows what frames of the batch are left. @returns whether none is left */
  #showAll(queue: VirtQueue): boolean {
    const { receivedLengths } = this.#backend;
    while (this.#next < this.#count) {
      const length = receivedLengths[this.#next]!;
      if (length > 0 && !this.#show(this.#next, length, queue)) return false;
      this.#next++;
    }
    return queue.live;
  }

  /** Shows a frame, or drops it. @returns false where it has to wait */
  #show(index: number, length: number, queue: VirtQueue): boolean {
    const backend = this.#backend;
    const buffers = this.#buffers!;
    const missing = length - this.#room[index]!;
    if (missing > 0 && !this.#mergeable) return this.#drop(index);
    while (this.#extraRoom < missing) {
      const slot = buffers.take(queue);
      if (slot < 0) {
        // With all buffers in our hands, no more can come.
        if (queue.inFlight >= queue.size) return this.#drop(index);
        this.#starve(queue);
        return false;
      }
      this.#extra[this.#extraCount++] = slot;
      this.#extraRoom += buffers.capacity(slot);
    }
    const at = index * HEADER_SIZE;
    if (!checkReceiveHeader(backend.receiveHeaders, at, this.#offloads)) return this.#drop(index);
    if (this.#limiter !== undefined && !this.#limiter.take(1, length)) {
      this.#throttled = true;
      this.#metrics.rx_rate_limiter_throttled++;
      return false;
    }
    backend.receiveHeaders.setUint16(at + NUM_BUFFERS, this.#needed[index]! + this.#extraCount, true);
    this.#give(index, length, queue);
    this.#metrics.rx_packets_count++;
    this.#metrics.rx_count++;
    this.#metrics.rx_bytes_count += length;
    return true;
  }

  /** Gives the driver a frame's chains. */
  #give(index: number, length: number, queue: VirtQueue): void {
    const backend = this.#backend;
    const buffers = this.#buffers!;
    const first = this.#first[index]!;
    buffers.writeHeader(this.#assigned[first]!, backend.receiveHeaders, index * HEADER_SIZE);
    const direct = Math.min(length, this.#room[index]!);
    let left = HEADER_SIZE + direct;
    for (let k = first; k < first + this.#needed[index]!; k++) {
      const slot = this.#assigned[k]!;
      const written = Math.min(left, buffers.capacity(slot));
      buffers.give(slot, written, queue);
      left -= written;
    }
    let copied = 0;
    for (let k = 0; k < this.#extraCount; k++) {
      const slot = this.#extra[k]!;
      const count = Math.min(length - direct - copied, buffers.capacity(slot));
      buffers.copyInto(slot, backend.overflow, index * MAX_FRAME_SIZE + copied, count);
      buffers.give(slot, count, queue);
      copied += count;
    }
    this.#extraCount = 0;
    this.#extraRoom = 0;
  }

  #drop(index: number): boolean {
    const buffers = this.#buffers!;
    const first = this.#first[index]!;
    this.#metrics.rx_fails++;
    for (let k = this.#extraCount - 1; k >= 0; k--) buffers.putBack(this.#extra[k]!);
    this.#extraCount = 0;
    this.#extraRoom = 0;
    for (let k = first + this.#needed[index]! - 1; k >= first; k--) buffers.putBack(this.#assigned[k]!);
    return true;
  }

  /** Waits for the driver to add buffers. */
  #starve(queue: VirtQueue): void {
    this.#metrics.no_rx_avail_buffer++;
    this.#starved = true;
    queue.watched = true;
  }
}
