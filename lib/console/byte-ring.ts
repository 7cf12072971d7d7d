import { NativeBuffer } from '../ffi/native-buffer.ts';

/**
 * A queue of bytes at a fixed host address, for system calls to fill and empty. Allocates nothing after its construction.
 *
 * When it runs empty it begins again at its start, so a queue that is mostly empty touches little of its memory.
 */
export class ByteRing {
  readonly capacity: number;
  readonly #memory: NativeBuffer;
  readonly #bytes: Uint8Array;
  readonly #mask: number;
  /** Bytes ever taken and ever put; they start again at 0 together. */
  #head = 0;
  #tail = 0;

  /** @param capacity bytes, a power of two */
  constructor(capacity: number) {
    if (capacity <= 0 || (capacity & (capacity - 1)) !== 0) throw new RangeError('the capacity must be a power of two');
    this.capacity = capacity;
    this.#memory = new NativeBuffer(capacity);
    this.#bytes = this.#memory.bytes;
    this.#mask = capacity - 1;
  }

  get length(): number {
    return this.#tail - this.#head;
  }

  get room(): number {
    return this.capacity - this.length;
  }

  /** Puts a byte at the end. @returns false where there is no room */
  push(byte: number): boolean {
    if (this.#tail - this.#head === this.capacity) return false;
    this.#bytes[this.#tail & this.#mask] = byte;
    this.#tail++;
    return true;
  }

  /** Puts bytes of `source` from `start` up to `end` at the end. @returns how many fitted */
  pushFrom(source: Uint8Array, start: number, end: number): number {
    const count = Math.min(end - start, this.room);
    for (let i = 0; i < count; i++) this.#bytes[(this.#tail + i) & this.#mask] = source[start + i]!;
    this.#tail += count;
    return count;
  }

  /** Takes the first byte. Only where `length` is not 0. */
  shift(): number {
    const byte = this.#bytes[this.#head & this.#mask]!;
    this.consume(1);
    return byte;
  }

  /** Takes bytes into `target` from `start` up to `end`. @returns how many there were */
  shiftInto(target: Uint8Array, start: number, end: number): number {
    const count = Math.min(end - start, this.length);
    for (let i = 0; i < count; i++) target[start + i] = this.#bytes[(this.#head + i) & this.#mask]!;
    this.consume(count);
    return count;
  }

  /** Host address of the first byte, and how many follow it in one piece. */
  get readAddress(): number {
    return this.#memory.address + (this.#head & this.#mask);
  }

  get readLength(): number {
    return Math.min(this.length, this.capacity - (this.#head & this.#mask));
  }

  /** Drops the first `count` bytes. */
  consume(count: number): void {
    this.#head += count;
    if (this.#head === this.#tail) {
      this.#head = 0;
      this.#tail = 0;
    }
  }

  /** Host address behind the last byte, and how much room follows it in one piece. */
  get writeAddress(): number {
    return this.#memory.address + (this.#tail & this.#mask);
  }

  get writeLength(): number {
    return Math.min(this.room, this.capacity - (this.#tail & this.#mask));
  }

  /** Makes `count` bytes that were written at `writeAddress` part of the queue. */
  produce(count: number): void {
    this.#tail += count;
  }

  clear(): void {
    this.consume(this.length);
  }

  /** Gives the memory back; the ring must not be used any more. */
  release(): void {
    this.#memory.release();
  }
}
