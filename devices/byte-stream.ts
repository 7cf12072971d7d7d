/**
 * The host's end of a console, as a device sees it. Who carries the bytes (terminal, file, pipe) is `lib/console`'s business.
 */

/** Takes what the guest prints. */
export interface OutputSink {
  /**
   * Queues one byte. Allocates nothing.
   * @returns false where the sink is congested: the caller should pause until `onDrain`. What it still puts is kept while there
   *   is room for it, which suffices for a driver that polls with a time limit; beyond that it is lost and counted by the sink.
   */
  put(byte: number): boolean;
  /** Queues `bytes` from `start` up to `end`. @returns how many it took; where fewer than given, `onDrain` tells when to go on */
  write(bytes: Uint8Array, start: number, end: number): number;
  /** Registers the one listener for the end of congestion. */
  onDrain(listener: () => void): void;
}

/** Has what is typed at the guest. Stops reading its host end while its queue is full. */
export interface InputSource {
  /** Bytes that can be taken now. */
  readonly available: number;
  /** Takes the next byte. Only where `available` is not 0. */
  take(): number;
  /** Takes bytes into `target` from `start` up to `end`. @returns how many */
  takeInto(target: Uint8Array, start: number, end: number): number;
  /** Registers the one listener for new bytes. */
  onReadable(listener: () => void): void;
}
