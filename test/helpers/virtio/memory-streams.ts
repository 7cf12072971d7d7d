import type { DescriptorChain } from '../../../devices/virtio/chain.ts';
import { NO_STREAM, type VsockBackend, type VsockListener } from '../../../devices/virtio/vsock/backend.ts';
import { CONNECTION_BUFFER_SIZE } from '../../../devices/virtio/vsock/constants.ts';

const EAGAIN = 11;
const ECONNRESET = 104;

/** The host's application behind a stream. */
export interface HostEnd {
  readonly stream: number;
  /** What the application has written and the guest has not been given. */
  toGuest: Buffer;
  /** What the application has been given. */
  fromGuest: Buffer;
  /** What the stream keeps for an application that does not read. */
  kept: Buffer;
  /** Bytes that the application will take before it stops reading. */
  appetite: number;
  open: boolean;
  closedByDevice: boolean;
  /** The application sends, or receives, no more. */
  ended: boolean;
  broken: boolean;
  hungUp: boolean;
  reset: boolean;
  /** What the device has told: the guest sends, or receives, no more. */
  endOfInput: boolean;
  deafGuest: boolean;
  acknowledged: number | undefined;
}

interface Sending {
  readonly end: HostEnd;
  readonly chain: DescriptorChain;
  readonly segments: [offset: number, length: number][];
}

/** Streams in memory, with the applications at their other ends. Complains about whatever the device must not do. */
export class MemoryStreams implements VsockBackend {
  listener: VsockListener | undefined;
  capacity = 16;
  running = false;
  /** Ports at which the host waits for the guest; `false`: it has not accepted yet. */
  readonly ports = new Map<number, boolean>();
  readonly ends: HostEnd[] = [];
  timer: number | undefined;
  /** Bytes that a fresh application takes without being asked. */
  appetite = Number.POSITIVE_INFINITY;
  readonly #streams: (HostEnd | undefined)[] = [];
  #reads: { end: HostEnd; chain: DescriptorChain; from: number; to: number }[] = [];
  #sendings: Sending[] = [];
  #results: number[] = [];

  start(): void {
    this.running = true;
  }

  stop(): void {
    this.running = false;
    for (const end of this.#streams) if (end !== undefined) this.#release(end);
    this.timer = undefined;
  }

  connect(port: number): number {
    const accepted = this.ports.get(port);
    if (accepted === undefined) return NO_STREAM;
    return this.#create(accepted).stream;
  }

  isOpen(stream: number): boolean {
    return this.#of(stream).open;
  }

  receive(stream: number, chain: DescriptorChain, from: number, to: number): number {
    const end = this.#of(stream);
    if (from >= to) throw new Error('a read into nothing');
    return this.#reads.push({ end, chain, from, to }) - 1;
  }

  send(stream: number, chain: DescriptorChain, from: number, to: number): void {
    const end = this.#of(stream);
    if (end.endOfInput) throw new Error('data after its end');
    const segments: [number, number][] = [];
    for (let i = from; i < to; i++) segments.push([chain.offsets[i]!, chain.lengths[i]!]);
    this.#sendings.push({ end, chain, segments });
  }

  submit(): void {
    this.#results = this.#reads.map(({ end, chain, from, to }) => readInto(end, chain, from, to));
    this.#reads = [];
    const sendings = this.#sendings;
    this.#sendings = [];
    for (const { end, chain, segments } of sendings) {
      if (end.closedByDevice || end.broken) continue;
      const parts = segments.map(([offset, length]) => chain.memory.bytes.slice(offset, offset + length));
      end.kept = Buffer.concat([end.kept, ...parts]);
      if (end.kept.length > CONNECTION_BUFFER_SIZE + parts.reduce((sum, part) => sum + part.length, 0)) {
        throw new Error('more is kept than was promised');
      }
    }
    for (const { end } of sendings) this.#flush(end);
  }

  result(place: number): number {
    const result = this.#results[place];
    if (result === undefined) throw new Error('no such read');
    return result;
  }

  acknowledge(stream: number, port: number): void {
    const end = this.#of(stream);
    if (end.acknowledged !== undefined) throw new Error('acknowledged twice');
    end.acknowledged = port;
    if (end.hungUp) this.#break(end);
  }

  endReceiving(stream: number): void {
    this.#of(stream).deafGuest = true;
  }

  endSending(stream: number): void {
    const end = this.#of(stream);
    if (end.kept.length > 0) throw new Error('the end before the data');
    if (end.endOfInput) throw new Error('ended twice');
    end.endOfInput = true;
  }

  close(stream: number): void {
    this.#release(this.#of(stream));
  }

  setTimer(milliseconds: number): void {
    this.timer = milliseconds;
  }

  /** The streams that are not closed. */
  get openStreams(): number {
    return this.#streams.filter((end) => end !== undefined).length;
  }

  // What the host's applications do.

  /** Connects to a port of the guest. */
  connectToGuest(port: number): HostEnd {
    if (!this.running) throw new Error('nobody can connect now');
    const end = this.#create(true);
    this.listener?.requested(end.stream, port);
    this.listener?.settle();
    return end;
  }

  accept(end: HostEnd): void {
    end.open = true;
    this.listener?.opened(end.stream);
    this.listener?.settle();
  }

  refuse(end: HostEnd): void {
    this.#release(end);
    this.listener?.refused(end.stream);
    this.listener?.settle();
  }

  write(end: HostEnd, data: Uint8Array | string): void {
    if (end.closedByDevice) return;
    end.toGuest = Buffer.concat([end.toGuest, Buffer.from(data)]);
    this.#tellReadable(end);
  }

  /** Sends no more. */
  endWriting(end: HostEnd): void {
    if (end.closedByDevice) return;
    end.ended = true;
    this.#tellReadable(end);
  }

  /** Receives no more; the stream notices when it is written to. */
  endReading(end: HostEnd): void {
    end.broken = true;
    end.kept = Buffer.alloc(0);
  }

  closeHost(end: HostEnd): void {
    if (end.closedByDevice) return;
    end.ended = true;
    end.hungUp = true;
    this.listener?.readable(end.stream);
    this.listener?.hungUp(end.stream);
    if (end.kept.length > 0) this.#break(end);
    end.broken = true;
    this.listener?.settle();
  }

  /** Closes without having read everything. */
  resetHost(end: HostEnd): void {
    if (end.closedByDevice) return;
    end.reset = true;
    end.toGuest = Buffer.alloc(0);
    this.closeHost(end);
  }

  /** Takes so many bytes more. */
  read(end: HostEnd, bytes = Number.POSITIVE_INFINITY): void {
    end.appetite += bytes;
    if (end.closedByDevice) return;
    this.#flush(end);
    this.listener?.settle();
  }

  expire(): void {
    this.timer = undefined;
    this.listener?.timeout();
    this.listener?.settle();
  }

  #tellReadable(end: HostEnd): void {
    this.listener?.readable(end.stream);
    this.listener?.settle();
  }

  #create(open: boolean): HostEnd {
    let stream = this.#streams.indexOf(undefined);
    if (stream < 0) stream = this.#streams.length;
    const end: HostEnd = {
      stream,
      toGuest: Buffer.alloc(0),
      fromGuest: Buffer.alloc(0),
      kept: Buffer.alloc(0),
      appetite: this.appetite,
      open,
      closedByDevice: false,
      ended: false,
      broken: false,
      hungUp: false,
      reset: false,
      endOfInput: false,
      deafGuest: false,
      acknowledged: undefined,
    };
    this.#streams[stream] = end;
    this.ends.push(end);
    return end;
  }

  #of(stream: number): HostEnd {
    const end = this.#streams[stream];
    if (end === undefined) throw new Error(`stream ${stream} is closed`);
    return end;
  }

  #release(end: HostEnd): void {
    end.closedByDevice = true;
    this.#streams[end.stream] = undefined;
  }

  #break(end: HostEnd): void {
    end.broken = true;
    end.kept = Buffer.alloc(0);
    this.listener?.broken(end.stream);
  }

  #flush(end: HostEnd): void {
    if (end.closedByDevice) return;
    if (end.broken) {
      this.#break(end);
      return;
    }
    const taken = Math.min(end.kept.length, end.appetite);
    if (taken === 0) return;
    end.appetite -= taken;
    end.fromGuest = Buffer.concat([end.fromGuest, end.kept.subarray(0, taken)]);
    end.kept = end.kept.subarray(taken);
    this.listener?.forwarded(end.stream, taken);
  }
}

function readInto(end: HostEnd, chain: DescriptorChain, from: number, to: number): number {
  if (end.toGuest.length === 0) {
    if (end.reset) return -ECONNRESET;
    return end.ended ? 0 : -EAGAIN;
  }
  let read = 0;
  for (let i = from; i < to; i++) {
    const part = end.toGuest.subarray(0, chain.lengths[i]!);
    chain.memory.bytes.set(part, chain.offsets[i]!);
    end.toGuest = end.toGuest.subarray(part.length);
    read += part.length;
  }
  return read;
}
