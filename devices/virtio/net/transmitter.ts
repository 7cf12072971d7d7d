import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { DescriptorChain } from '../chain.ts';
import type { VirtioHost } from '../device.ts';
import { Fault } from '../faults.ts';
import type { RequestLimiter } from '../limiter.ts';
import type { VirtQueue } from '../queue.ts';
import type { NetBackend } from './backend.ts';
import { ETH_HLEN, HEADER_SIZE, MAX_FRAME_SIZE, NET_QUEUE_SIZE, TRANSMIT_QUEUE } from './constants.ts';
import { checkTransmitHeader, NO_OFFLOADS, type Offloads, transmitOffloads } from './header.ts';
import type { NetMetrics } from './metrics.ts';

/** Where an Ethernet header has its source address, and the address's bytes. */
const SOURCE = 6;
const ETH_ALEN = 6;
/** Instead of a length: a frame that makes no sense. */
const MALFORMED = 0;

/** The sending half of a network device (virtio 1.2 section 5.1.6.2): frames go in batches, straight from the guest's buffers. */
export class Transmitter {
  readonly #backend: NetBackend;
  readonly #limiter: RequestLimiter | undefined;
  readonly #metrics: NetMetrics;
  readonly #mac: Uint8Array | undefined;
  #host: VirtioHost | undefined;
  #queue: VirtQueue | undefined;
  #memory: GuestMemory | undefined;
  #chain: DescriptorChain | undefined;
  #offloads: Offloads = NO_OFFLOADS;
  /** Chains of the batch, and the bytes of the frame in each; `#frames` of them make sense. */
  readonly #heads: Uint16Array;
  readonly #lengths: Uint32Array;
  #count = 0;
  #frames = 0;
  /** Frames, and their bytes, that the limiter has let through and the backend has not taken. */
  #paidFrames = 0;
  #paidBytes = 0;
  #throttled = false;
  #congested = false;

  /** @param mac what the guest's frames should come from, where it was told */
  constructor(
    backend: NetBackend,
    limiter: RequestLimiter | undefined,
    metrics: NetMetrics,
    mac: Uint8Array | undefined,
  ) {
    this.#backend = backend;
    this.#limiter = limiter;
    this.#metrics = metrics;
    this.#mac = mac;
    this.#heads = new Uint16Array(backend.batch);
    this.#lengths = new Uint32Array(backend.batch);
    limiter?.onReady(() => {
      this.#metrics.tx_rate_limiter_event_count++;
      this.#throttled = false;
      this.#watch();
    });
  }

  activate(host: VirtioHost): void {
    this.#host = host;
    this.#queue = host.queues[TRANSMIT_QUEUE]!;
    this.#memory = host.memory;
    if (this.#chain === undefined) this.#chain = new DescriptorChain(host.memory, NET_QUEUE_SIZE);
    this.#offloads = transmitOffloads(host.features);
    this.resetQueue();
  }

  reset(): void {
    this.resetQueue();
    this.#host = undefined;
    this.#queue = undefined;
  }

  /** Nothing is kept between batches but what the limiter was paid. */
  resetQueue(): void {
    this.#paidFrames = 0;
    this.#paidBytes = 0;
  }

  /** The host takes frames again. */
  writable(): void {
    this.#congested = false;
    this.#watch();
  }

  notify(): void {
    const queue = this.#queue!;
    const chain = this.#chain!;
    this.#metrics.tx_queue_event_count++;
    this.#throttled = false;
    // No more than a queue's worth at once: the guest may add frames as fast as they are taken.
    for (let left = queue.size; left > 0 && !this.#congested; left--) {
      if (!queue.pop(chain)) break;
      if (chain.readableLength < HEADER_SIZE) {
        queue.fail(Fault.RequestHeader);
        break;
      }
      if (this.#limiter !== undefined && !this.#pay(chain.readableLength - HEADER_SIZE)) {
        queue.unpop();
        break;
      }
      this.#gather(chain);
      if (this.#count === this.#backend.batch) this.#flush(queue);
    }
    this.#flush(queue);
    this.#watch();
  }

  /** Asks the limiter, unless it was asked for this frame before. */
  #pay(length: number): boolean {
    if (this.#paidFrames > 0 && this.#paidBytes >= length) {
      this.#paidFrames--;
      this.#paidBytes -= length;
      return true;
    }
    if (this.#limiter!.take(1, length)) return true;
    // Frames that were paid for come first: one that is refused before them was made longer meanwhile. Its driver pays for them again.
    this.#paidFrames = 0;
    this.#paidBytes = 0;
    this.#metrics.tx_rate_limiter_throttled++;
    this.#throttled = true;
    return false;
  }

  /** Adds a chain to the batch: its frame, or, where that makes no sense, nothing but the chain. */
  #gather(chain: DescriptorChain): void {
    const backend = this.#backend;
    const first = chain.takeU32();
    const second = chain.takeU32();
    const third = chain.takeU32();
    const length = chain.readableLength;
    const index = this.#count++;
    this.#heads[index] = chain.head;
    this.#lengths[index] = MALFORMED;
    if (length < ETH_HLEN || length > MAX_FRAME_SIZE) return;
    const at = this.#frames * HEADER_SIZE;
    if (!checkTransmitHeader(first, second, third, length, this.#offloads, backend.transmitHeaders, at)) return;
    this.#lengths[index] = length;
    this.#frames++;
    if (this.#mac !== undefined && !this.#isFrom(this.#mac, chain)) this.#metrics.tx_spoofed_mac_count++;
    backend.beginTransmit(length);
    for (let i = chain.readFrom; i < chain.readTo; i++) backend.addTransmit(chain.offsets[i]!, chain.lengths[i]!);
  }

  /** Sends the batch, and gives its chains back up to the first frame that the backend does not take. */
  #flush(queue: VirtQueue): void {
    const metrics = this.#metrics;
    let taken = 0;
    if (this.#frames > 0) {
      taken = this.#backend.transmit();
      const failed = this.#backend.transmitFailures;
      metrics.tx_count++;
      metrics.tx_fails += failed;
      metrics.tap_write_fails += failed;
      metrics.tx_packets_count += taken - failed;
    }
    if (taken < this.#frames) {
      metrics.tx_remaining_reqs_count++;
      this.#congested = true;
    }
    let index = 0;
    for (; index < this.#count; index++) {
      const length = this.#lengths[index]!;
      if (length === MALFORMED) metrics.tx_malformed_frames++;
      else if (taken-- > 0) metrics.tx_bytes_count += length;
      else break;
      queue.push(this.#heads[index]!, 0);
    }
    for (; index < this.#count; index++) this.#leave(queue, this.#lengths[index]!);
    this.#count = 0;
    this.#frames = 0;
    // At once, so that the guest makes new frames while others are sent.
    if (queue.publish()) this.#host!.interrupt(TRANSMIT_QUEUE);
  }

  /** Leaves a chain in the queue for later. What the limiter was paid for it is remembered. */
  #leave(queue: VirtQueue, length: number): void {
    queue.unpop();
    if (this.#limiter === undefined || length === MALFORMED) return;
    this.#paidFrames++;
    this.#paidBytes += length;
  }

  /** Whether a frame's source address is that one. The chain begins with the frame, which is at least an Ethernet header. */
  #isFrom(mac: Uint8Array, chain: DescriptorChain): boolean {
    const { bytes } = this.#memory!;
    let index = chain.readFrom;
    if (chain.lengths[index]! >= SOURCE + ETH_ALEN) {
      const start = chain.offsets[index]! + SOURCE;
      // Without a loop, as most frames are in one piece.
      return (
        bytes[start] === mac[0] &&
        bytes[start + 1] === mac[1] &&
        bytes[start + 2] === mac[2] &&
        bytes[start + 3] === mac[3] &&
        bytes[start + 4] === mac[4] &&
        bytes[start + 5] === mac[5]
      );
    }
    let at = SOURCE;
    for (let i = 0; i < ETH_ALEN; i++, at++) {
      while (at >= chain.lengths[index]!) {
        at -= chain.lengths[index]!;
        index++;
      }
      if (bytes[chain.offsets[index]! + at] !== mac[i]) return false;
    }
    return true;
  }

  #watch(): void {
    const waiting = this.#congested || (this.#throttled && this.#paidFrames === 0);
    if (this.#queue !== undefined) this.#queue.watched = !waiting;
  }
}
