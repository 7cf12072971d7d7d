import type { BlockBackend, BlockListener } from '../../../devices/virtio/block/backend.ts';
import type { DescriptorChain } from '../../../devices/virtio/chain.ts';

/** A request that a slow disk has not ended yet. */
interface Pending {
  readonly tag: number;
  run(): number;
}

/**
 * A disk in memory. A quick one ends each request within `submit`, without allocating; a slow one keeps them for `finish`, in any order.
 */
export class MemoryDisk implements BlockBackend {
  listener: BlockListener | undefined;
  depth = 256;
  readonly bytes: Uint8Array;
  readonly sectors: number;
  readonly blockSize = 512;
  readonly canDiscard: boolean;
  readonly canWriteZeroes: boolean;
  readonly pending: Pending[] = [];
  readOnly = false;
  slow = false;
  /** Every request ends with this errno, if it is not 0. */
  errno = 0;
  /** Bytes that transfers fall short by. */
  shortBy = 0;
  /** What was asked for, for tests that look. */
  readonly log: string[] = [];
  logging = true;
  readonly #endedTags = new Float64Array(1024);
  readonly #endedResults = new Float64Array(1024);
  #ended = 0;

  constructor(size: number, options: { readOnly?: boolean; slow?: boolean; holes?: boolean } = {}) {
    this.bytes = new Uint8Array(size);
    this.sectors = Math.floor(size / 512);
    this.readOnly = options.readOnly ?? false;
    this.slow = options.slow ?? false;
    this.canDiscard = options.holes ?? true;
    this.canWriteZeroes = options.holes ?? true;
  }

  read(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void {
    this.#transfer(tag, position, chain, from, to, false);
  }

  write(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void {
    if (this.readOnly) throw new Error('a write reached a read-only disk');
    this.#transfer(tag, position, chain, from, to, true);
  }

  flush(tag: number): void {
    this.#do(tag, 'flush', 0, 0);
  }

  discard(tag: number, position: number, length: number): void {
    this.#do(tag, 'discard', position, length);
  }

  writeZeroes(tag: number, position: number, length: number, mayUnmap: boolean): void {
    this.#do(tag, mayUnmap ? 'zero, unmap' : 'zero', position, length);
  }

  submit(): void {
    this.#tell();
  }

  drain(): void {
    while (this.pending.length > 0) this.finish(0);
    this.#tell();
  }

  /** Ends one of the pending requests. */
  finish(index: number): void {
    const request = this.pending.splice(index, 1)[0];
    if (request === undefined) return;
    this.#end(request.tag, request.run());
    this.#tell();
  }

  #transfer(tag: number, position: number, chain: DescriptorChain, from: number, to: number, write: boolean): void {
    if (!this.slow) {
      this.#end(tag, this.#copy(position, chain, from, to, write));
      return;
    }
    const offsets = [...chain.offsets.subarray(from, to)];
    const lengths = [...chain.lengths.subarray(from, to)];
    const copy = { memory: chain.memory, offsets, lengths };
    this.pending.push({ tag, run: () => this.#copy(position, copy, 0, offsets.length, write) });
  }

  #do(tag: number, name: string, position: number, length: number): void {
    const run = (): number => {
      if (this.logging) this.log.push(`${name} ${position}+${length}`);
      if (position + length > this.bytes.length) throw new Error('outside the disk');
      this.bytes.fill(0, position, position + length);
      return -this.errno;
    };
    if (this.slow) this.pending.push({ tag, run });
    else this.#end(tag, run());
  }

  #copy(
    position: number,
    chain: { memory: DescriptorChain['memory']; offsets: ArrayLike<number>; lengths: ArrayLike<number> },
    from: number,
    to: number,
    write: boolean,
  ): number {
    if (this.errno !== 0) return -this.errno;
    const { bytes } = chain.memory;
    const disk = this.bytes;
    let at = position;
    for (let i = from; i < to; i++) {
      const offset = chain.offsets[i]!;
      const length = chain.lengths[i]!;
      if (at + length > disk.length) throw new Error('outside the disk');
      if (write) for (let k = 0; k < length; k++) disk[at + k] = bytes[offset + k]!;
      else for (let k = 0; k < length; k++) bytes[offset + k] = disk[at + k]!;
      at += length;
    }
    return at - position - this.shortBy;
  }

  #end(tag: number, result: number): void {
    this.#endedTags[this.#ended] = tag;
    this.#endedResults[this.#ended] = result;
    this.#ended++;
  }

  #tell(): void {
    if (this.#ended === 0) return;
    for (let i = 0; i < this.#ended; i++) this.listener?.complete(this.#endedTags[i]!, this.#endedResults[i]!);
    this.#ended = 0;
    this.listener?.completed();
  }
}
