import type { VirtioHost } from '../device.ts';
import { Fault } from '../faults.ts';
import type { VirtQueue } from '../queue.ts';
import type { VsockBackend } from './backend.ts';
import { type Connection, ConnectionState, Say, SHUTDOWN_BOTH } from './connection.ts';
import {
  RX_QUEUE,
  VIRTIO_VSOCK_OP_CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VsockHeader,
} from './constants.ts';
import type { VsockMetrics } from './metrics.ts';
import type { Muxer } from './muxer.ts';
import { RxBuffer } from './rx-buffer.ts';

/** The most reads that are begun before their results are looked at. */
const MAX_READS = 32;
/** Rounds of reads after which others have their turn. */
const MAX_ROUNDS = 8;
const EAGAIN = 11;

/**
 * Fills the driver's buffers with packets: what the muxer has to say, and what the host's streams hold, read straight into guest memory.
 *
 * A buffer whose read came to nothing is kept for the next packet. Allocates nothing while it works.
 */
export class GuestBound {
  readonly #host: VirtioHost;
  readonly #queue: VirtQueue;
  readonly #muxer: Muxer;
  readonly #backend: VsockBackend;
  readonly #metrics: VsockMetrics;
  /** Buffers that hold no chain, and buffers that wait for a packet. */
  readonly #empty: RxBuffer[] = [];
  readonly #spare: RxBuffer[] = [];
  /** Reads that were begun: buffer n has the result of place n. */
  readonly #reads: RxBuffer[] = [];
  readonly #maxReads: number;

  constructor(host: VirtioHost, guestCid: number, muxer: Muxer, backend: VsockBackend, metrics: VsockMetrics) {
    this.#host = host;
    this.#queue = host.queues[RX_QUEUE]!;
    this.#muxer = muxer;
    this.#backend = backend;
    this.#metrics = metrics;
    this.#maxReads = Math.min(MAX_READS, backend.capacity);
    // One more than reads: what comes in between needs one too.
    for (let i = 0; i <= this.#maxReads; i++) this.#empty.push(new RxBuffer(host.memory, guestCid));
  }

  /** Does what the driver's buffers allow for now. */
  run(): void {
    const queue = this.#queue;
    if (!queue.live) return;
    for (let round = 1; this.#fill(); round++) {
      this.#backend.submit();
      this.#settle();
      this.#publish();
      // With buffers in the queue, it will be looked at again.
      if (round >= MAX_ROUNDS && queue.pending) break;
    }
    this.#publish();
    // Where there is nothing to say, the driver's buffers are looked at when there is.
    queue.watched = this.#muxer.hasToSay;
  }

  /** Forgets the buffers: they are the driver's again. */
  clear(): void {
    while (this.#spare.length > 0) this.#empty.push(this.#spare.pop()!);
  }

  /** Writes packets without data, and begins reads, one connection after the other. @returns whether there are reads */
  #fill(): boolean {
    const { ready, resets } = this.#muxer;
    while (this.#reads.length < this.#maxReads) {
      const buffer = this.#take();
      if (buffer === undefined) break;
      if (!resets.empty) {
        buffer.writeOrphan(resets.hostPort, resets.guestPort, VIRTIO_VSOCK_OP_RST);
        resets.removeFirst();
        this.#give(buffer, 0);
        continue;
      }
      const connection = ready.first;
      if (connection === undefined) {
        this.#spare.push(buffer);
        break;
      }
      ready.remove(connection);
      if (!this.#say(connection, buffer)) this.#read(connection, buffer);
    }
    return this.#reads.length > 0;
  }

  /** Says what is not data, if there is any. */
  #say(connection: Connection, buffer: RxBuffer): boolean {
    const { say } = connection;
    let operation: number;
    let flags = 0;
    if ((say & Say.Reset) !== 0) operation = VIRTIO_VSOCK_OP_RST;
    else if ((say & Say.Response) !== 0) operation = VIRTIO_VSOCK_OP_RESPONSE;
    else if ((say & Say.Request) !== 0) {
      operation = VIRTIO_VSOCK_OP_REQUEST;
      this.#muxer.expectAnswer(connection);
    } else if ((say & Say.Shutdown) !== 0) {
      operation = VIRTIO_VSOCK_OP_SHUTDOWN;
      flags = connection.hostShutdown;
      if (flags === SHUTDOWN_BOTH) this.#muxer.expectAnswer(connection);
    } else if (connection.wantsRead && connection.credit > 0) return false;
    else if (connection.wantsRead && !connection.creditAsked) {
      operation = VIRTIO_VSOCK_OP_CREDIT_REQUEST;
      connection.creditAsked = true;
    } else if ((say & Say.CreditUpdate) !== 0) operation = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    else {
      // It has changed its mind since it was listed.
      this.#spare.push(buffer);
      return true;
    }
    connection.say &= ~(1 << operation);
    buffer.write(connection, operation, flags, 0);
    this.#give(buffer, 0);
    if (operation === VIRTIO_VSOCK_OP_RST) this.#muxer.remove(connection);
    else this.#muxer.relist(connection);
    return true;
  }

  /** Begins as many reads as are worth it. */
  #read(connection: Connection, first: RxBuffer): void {
    let { credit } = connection;
    let buffer: RxBuffer | undefined = first;
    for (let left = connection.reads; buffer !== undefined; ) {
      buffer.connection = connection;
      buffer.limit(credit);
      credit -= Math.min(credit, buffer.room);
      this.#backend.receive(connection.stream, buffer.chain, buffer.dataFrom, buffer.dataTo);
      this.#reads.push(buffer);
      left--;
      if (left === 0 || credit === 0 || this.#reads.length === this.#maxReads) return;
      buffer = this.#take();
    }
  }

  /** Makes packets of what was read. */
  #settle(): void {
    const reads = this.#reads;
    let full = true;
    for (let place = 0; place < reads.length; place++) {
      const buffer = reads[place]!;
      const connection = buffer.connection!;
      if (!this.#finish(connection, buffer, this.#backend.result(place))) full = false;
      if (reads[place + 1]?.connection === connection) continue;
      connection.learn(full);
      full = true;
      this.#muxer.relist(connection);
    }
    while (reads.length > 0) {
      const buffer = reads.pop()!;
      if (buffer.connection !== undefined) {
        buffer.restore();
        this.#spare.push(buffer);
      } else this.#empty.push(buffer);
    }
  }

  /** @returns whether the buffer is full */
  #finish(connection: Connection, buffer: RxBuffer, result: number): boolean {
    if (connection.state !== ConnectionState.Established) return false;
    if (result > 0) {
      connection.sent(result);
      this.#metrics.rx_bytes_count += result;
      buffer.write(connection, VIRTIO_VSOCK_OP_RW, 0, result);
      this.#push(buffer, result);
      return result >= buffer.room;
    }
    if (result === 0) this.#muxer.ended(connection);
    else if (result === -EAGAIN) connection.readable = false;
    else {
      this.#metrics.rx_read_fails++;
      this.#muxer.kill(connection);
    }
    return false;
  }

  /** A buffer for a packet: one that is left over, or the driver's next. */
  #take(): RxBuffer | undefined {
    const spare = this.#spare.pop();
    if (spare !== undefined) return spare;
    const buffer = this.#empty.pop();
    if (buffer === undefined) return undefined;
    const taken = buffer.take(this.#queue);
    if (taken > 0) return buffer;
    this.#empty.push(buffer);
    if (taken < 0) this.#queue.fail(Fault.RequestAnswer);
    return undefined;
  }

  /** Gives a buffer with a packet to the driver. */
  #give(buffer: RxBuffer, length: number): void {
    this.#push(buffer, length);
    this.#empty.push(buffer);
  }

  #publish(): void {
    if (this.#queue.publish()) this.#host.interrupt(RX_QUEUE);
  }

  #push(buffer: RxBuffer, length: number): void {
    this.#metrics.rx_packets_count++;
    this.#queue.push(buffer.chain.head, VsockHeader.SIZE + length);
    buffer.connection = undefined;
  }
}
