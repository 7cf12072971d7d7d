import type { DescriptorChain } from '../chain.ts';

/** Told how requests ended. */
export interface BlockListener {
  /** @param result bytes transferred (0 where none are), or -errno */
  complete(tag: number, result: number): void;
  /** That was all for now: the end of a run of `complete`. */
  completed(): void;
}

/**
 * What holds a block device's data.
 *
 * Requests begin in any order and number up to `depth` at a time, and end in any order, each told to `listener` under its tag, be it
 * during `submit`, `drain`, or at any other time outside the device's own calls. Buffers are given as segments `from` up to `to` of
 * a chain, and noted before the call returns: the chain is filled again at once. Positions and lengths are in bytes, and inside
 * the disk.
 */
export interface BlockBackend {
  listener: BlockListener | undefined;
  /** Requests that may be in flight. */
  readonly depth: number;
  /** Sectors of 512 bytes. */
  readonly sectors: number;
  readonly readOnly: boolean;
  /** Bytes of a logical block: what the guest's partition tables count in. */
  readonly blockSize: number;
  readonly canDiscard: boolean;
  readonly canWriteZeroes: boolean;
  read(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void;
  write(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void;
  /** Makes durable what was written and has completed. */
  flush(tag: number): void;
  discard(tag: number, position: number, length: number): void;
  writeZeroes(tag: number, position: number, length: number, mayUnmap: boolean): void;
  /** Sets going what was begun since the last time. */
  submit(): void;
  /** Waits until everything that was begun has ended and been told. */
  drain(): void;
}
