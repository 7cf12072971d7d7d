import type { DescriptorChain } from '../chain.ts';

/** A stream's number when there is none. */
export const NO_STREAM = -1;

/**
 * The host's end of connections: streams of bytes to whoever is on the host. Knows nothing of packets and credit.
 *
 * Streams are small numbers. What happens to them is told to `listener` at any time outside the device's own calls, and by
 * `forwarded`, `broken` and `failed` during `send`, `submit` and `acknowledge` as well.
 */
export interface VsockBackend {
  listener: VsockListener | undefined;
  /** Reads that one `submit` carries out. */
  readonly capacity: number;
  /** The guest's driver is ready: the host may connect from now on. */
  start(): void;
  /** Closes all streams, at once and without telling `listener`, and lets nobody connect. */
  stop(): void;
  /** Opens a stream to whoever waits for the guest at a port. @returns its number, or `NO_STREAM` where nobody does */
  connect(port: number): number;
  /** Whether a stream that `connect` began is open. If not, `opened` or `refused` follows. */
  isOpen(stream: number): boolean;
  /**
   * Begins to read into segments `from` up to `to` of a chain, which stays as it is until `submit`.
   * @returns its place, for `result`: 0 for the first since the last `submit`, and so on
   */
  receive(stream: number, chain: DescriptorChain, from: number, to: number): number;
  /**
   * Sends what lies in segments `from` up to `to` of a chain, which is filled again at once; guest memory stays as it is until `submit`.
   * What the host does not take at once is kept, up to CONNECTION_BUFFER_SIZE bytes; `forwarded` tells what it has taken.
   */
  send(stream: number, chain: DescriptorChain, from: number, to: number): void;
  /** Carries out what was begun. */
  submit(): void;
  /** Of a read: bytes, 0 at the end of the stream, or -errno (EAGAIN: nothing now). */
  result(place: number): number;
  /** Tells the host that the guest has accepted its connection, which there has the number `port`. */
  acknowledge(stream: number, port: number): void;
  /** Tells the host that the guest receives no more. */
  endReceiving(stream: number): void;
  /** Tells the host that the guest sends no more. Only once everything is forwarded. */
  endSending(stream: number): void;
  /** Ends a stream. What is still kept is lost. */
  close(stream: number): void;
  /** Calls `timeout` in so many milliseconds; only the last counts. */
  setTimer(milliseconds: number): void;
}

/** Told what happens to streams. */
export interface VsockListener {
  /** The host wants to connect to a port of the guest. Who does not want the stream closes it. */
  requested(stream: number, port: number): void;
  /** A stream of `connect` is open. */
  opened(stream: number): void;
  /** A stream of `connect` cannot be opened; it is closed. */
  refused(stream: number): void;
  /** There may be something to read, until a read says EAGAIN. */
  readable(stream: number): void;
  /** The host neither sends nor receives any more; what it has sent may still be read. */
  hungUp(stream: number): void;
  /** The host has taken so many more bytes. */
  forwarded(stream: number, bytes: number): void;
  /** The host receives no more: what was sent and not forwarded is lost. */
  broken(stream: number): void;
  /** The stream is of no more use. */
  failed(stream: number): void;
  timeout(): void;
  /** That was all for now: the end of a run of the above. */
  settle(): void;
}
