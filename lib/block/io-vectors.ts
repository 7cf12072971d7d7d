import type { DescriptorChain } from '../../devices/virtio/chain.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';

/** `sizeof(struct iovec)`: u64 address, u64 length. */
const IOVEC_SIZE = 16;
const IOVEC_WORDS = IOVEC_SIZE / 4;
/** iovecs that are kept at once: as many as a full queue of the longest chains has. Pages that are never used cost nothing. */
const CAPACITY = 256 * 256;

/**
 * Turns segments of chains into `struct iovec`s in memory that the kernel can read.
 *
 * `gather` leaves its answer in the fields: allocating nothing, it can return but one number. Buffers that lie side by side become one.
 */
export class IoVectors {
  readonly #memory = new NativeBuffer(CAPACITY * IOVEC_SIZE);
  readonly #words = new Uint32Array(this.#memory.buffer, this.#memory.base, CAPACITY * IOVEC_WORDS);
  /** Host address of the guest buffer's first byte. */
  readonly #guest: number;
  #used = 0;
  /** Host address of the iovecs that were gathered last, or, where it is one, of the buffer itself. */
  address = 0;
  /** Bytes of the only buffer, or how many iovecs there are. */
  length = 0;

  /** @param guest host address of `GuestMemory.buffer`'s first byte */
  constructor(guest: number) {
    this.#guest = guest;
  }

  /** Whether a chain of so many buffers fits beside those that were gathered since `clear`. */
  hasRoom(buffers: number): boolean {
    return this.#used + buffers <= CAPACITY;
  }

  /** Forgets all: the kernel has read them. */
  clear(): void {
    this.#used = 0;
  }

  /** Notes segments `from` up to `to`, at least one. Only where there is room. @returns whether they are more than one buffer */
  gather(chain: Pick<DescriptorChain, 'offsets' | 'lengths'>, from: number, to: number): boolean {
    const { offsets, lengths } = chain;
    const start = this.#used;
    let used = start;
    let offset = offsets[from]!;
    let length = lengths[from]!;
    for (let i = from + 1; i < to; i++) {
      const next = offsets[i]!;
      if (next === offset + length) {
        length += lengths[i]!;
        continue;
      }
      this.#put(used++, offset, length);
      offset = next;
      length = lengths[i]!;
    }
    if (used === start) {
      this.address = this.#guest + offset;
      this.length = length;
      return false;
    }
    this.#put(used++, offset, length);
    this.address = this.#memory.address + start * IOVEC_SIZE;
    this.length = used - start;
    this.#used = used;
    return true;
  }

  #put(index: number, offset: number, length: number): void {
    const address = this.#guest + offset;
    const word = index * IOVEC_WORDS;
    this.#words[word] = address;
    this.#words[word + 1] = Math.floor(address / 0x1_0000_0000);
    this.#words[word + 2] = length;
    this.#words[word + 3] = 0;
  }
}
