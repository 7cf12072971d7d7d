import type { NativeBuffer } from '../ffi/native-buffer.ts';

/** Bytes of one system call in a block of `calls.S`, and of the header before the first. */
export const CALL_ENTRY_SIZE = 64;

/** How many bytes a block of so many system calls takes. */
export function callBlockSize(calls: number): number {
  return (1 + calls) * CALL_ENTRY_SIZE;
}

/** System calls for a native routine to make, and then their results; for set-up (the loop's own batches: `NativeArena`). */
export class CallBlock {
  readonly #memory: NativeBuffer;
  readonly #offset: number;

  /** @param offset of the block in `memory` */
  constructor(memory: NativeBuffer, offset = 0) {
    this.#memory = memory;
    this.#offset = offset;
  }

  /** Host address. */
  get address(): number {
    return this.#memory.address + this.#offset;
  }

  /** Whether a routine that says so (`confine.S`) has made the calls. */
  get isDone(): boolean {
    return Atomics.load(this.#words, 1) !== 0;
  }

  /**
   * Replaces the calls: number and arguments of each, integers from 0 to 2⁵³.
   * @param signals for `confine.S`: those that the thread blocks afterwards; 0n: as before
   */
  set(calls: readonly (readonly number[])[], signals = 0n): void {
    const words = this.#words;
    words.fill(0, 0, callBlockSize(calls.length) / 4);
    this.#memory.view.setBigUint64(this.#offset + 8, signals, true);
    for (let index = 0; index < calls.length; index++) {
      const call = calls[index]!;
      let word = callBlockSize(index) / 4;
      for (let place = 0; place < call.length; place++) {
        const value = call[place]!;
        words[word] = value;
        words[word + 1] = value / 0x1_0000_0000;
        word += 2;
      }
    }
    Atomics.store(words, 0, calls.length);
  }

  /** What a call returned, or -errno. */
  result(index: number): number {
    return this.#memory.getNumber64(this.#offset + callBlockSize(index) + 56);
  }

  get #words(): Int32Array {
    const { buffer, base, size } = this.#memory;
    return new Int32Array(buffer, base + this.#offset, (size - this.#offset) >> 2);
  }
}
