import { NativeBuffer } from '../ffi/native-buffer.ts';

/** `sizeof(struct iovec)`: u64 address, u64 length. */
const IOVEC_SIZE = 16;
const IOVEC_WORDS = IOVEC_SIZE / 4;
/** What one system call takes, <linux/uio.h> (`UIO_MAXIOV`). */
const IOV_MAX = 1024;

/**
 * A batch of frames as `struct iovec`s, one list after the other, in memory that the kernel can read. Pieces that lie side by side
 * become one. Allocates nothing after its construction; pages that are never used cost nothing.
 */
export class FrameVectors {
  readonly #memory: NativeBuffer;
  readonly #words: Uint32Array;
  /** Host address of the guest buffer's first byte. */
  readonly #guest: number;
  /** By frame: its first iovec; behind the last frame, the next that is free. */
  readonly #startsMemory: NativeBuffer;
  readonly #first: Uint32Array;
  #frames = 0;
  #used = 0;
  /** Host address behind the last piece, or -1 where nothing may be joined to it. */
  #end = -1;

  /**
   * @param guest host address of `GuestMemory.buffer`'s first byte
   * @param frames of a batch
   * @param pieces of a frame at most
   */
  constructor(guest: number, frames: number, pieces: number) {
    this.#guest = guest;
    this.#memory = new NativeBuffer(frames * pieces * IOVEC_SIZE);
    this.#words = new Uint32Array(this.#memory.buffer, this.#memory.base, frames * pieces * IOVEC_WORDS);
    this.#startsMemory = new NativeBuffer(4 * (frames + 1));
    this.#first = new Uint32Array(this.#startsMemory.buffer, this.#startsMemory.base, frames + 1);
  }

  /** Frames in it. */
  get frames(): number {
    return this.#frames;
  }

  /** Begins a frame. */
  begin(): void {
    this.#first[this.#frames] = this.#used;
    this.#frames++;
    this.#end = -1;
  }

  /** Adds bytes of the guest to the frame that was begun last. */
  addGuest(offset: number, length: number): void {
    this.addHost(this.#guest + offset, length);
  }

  /** Adds bytes at a host address. */
  addHost(address: number, length: number): void {
    const words = this.#words;
    if (address === this.#end) {
      words[(this.#used - 1) * IOVEC_WORDS + 2]! += length;
    } else {
      const word = this.#used * IOVEC_WORDS;
      words[word] = address;
      words[word + 1] = Math.floor(address / 0x1_0000_0000);
      words[word + 2] = length;
      words[word + 3] = 0;
      this.#used++;
    }
    this.#end = address + length;
  }

  /** Host address of the first frame's first iovec. */
  get base(): number {
    return this.#memory.address;
  }

  /** Ends the last frame. @returns host address of u32s: each frame's first iovec, counted from `base`, and the one behind the last */
  starts(): number {
    this.#first[this.#frames] = this.#used;
    return this.#startsMemory.address;
  }

  /** Host address of a frame's first iovec. */
  address(frame: number): number {
    return this.#memory.address + this.#first[frame]! * IOVEC_SIZE;
  }

  /** How many iovecs a frame has. */
  length(frame: number): number {
    return this.lengthOf(frame, frame + 1);
  }

  /**
   * Where the frames end that one system call may take, from frame `from` on: their iovecs are no more than the kernel takes at once.
   * @returns the frame behind them
   */
  runFrom(from: number): number {
    let to = from + 1;
    while (to < this.#frames && this.#firstOf(to + 1) - this.#first[from]! <= IOV_MAX) to++;
    return to;
  }

  /** How many iovecs frames `from` up to `to` have. They lie side by side. */
  lengthOf(from: number, to: number): number {
    return this.#firstOf(to) - this.#first[from]!;
  }

  /** The offset in the guest's buffer of piece `index` of a frame (as is any host address, less the guest's). */
  guestOffset(frame: number, index: number): number {
    const word = (this.#first[frame]! + index) * IOVEC_WORDS;
    return this.#words[word + 1]! * 0x1_0000_0000 + this.#words[word]! - this.#guest;
  }

  /** Bytes of piece `index` of a frame. */
  pieceLength(frame: number, index: number): number {
    return this.#words[(this.#first[frame]! + index) * IOVEC_WORDS + 2]!;
  }

  /** Forgets all frames. */
  clear(): void {
    this.#frames = 0;
    this.#used = 0;
  }

  #firstOf(frame: number): number {
    return frame < this.#frames ? this.#first[frame]! : this.#used;
  }

  /** Gives the memory back; it must not be used any more. */
  release(): void {
    this.#memory.release();
    this.#startsMemory.release();
  }
}
