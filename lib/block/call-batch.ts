import type { BlockListener } from '../../devices/virtio/block/backend.ts';
import type { DescriptorChain } from '../../devices/virtio/chain.ts';
import type { NativeArena } from '../loop/arena.ts';
import { IoVectors } from './io-vectors.ts';

/** Requests that are gathered before they are carried out: a queue's worth. */
export const BATCH_CAPACITY = 256;

/**
 * Requests as system calls on one file that are waited for: gathered, and carried out in as few foreign calls as the arena's batches allow.
 * Allocates nothing but when it is made.
 */
export class CallBatch {
  readonly #arena: NativeArena;
  readonly #fd: number;
  readonly #vectors: IoVectors;
  readonly #listener: () => BlockListener | undefined;
  #count = 0;
  /** By request: system call, and its arguments behind the descriptor. */
  readonly #tags = new Uint32Array(BATCH_CAPACITY);
  readonly #calls = new Uint32Array(BATCH_CAPACITY);
  readonly #first = new Float64Array(BATCH_CAPACITY);
  readonly #second = new Float64Array(BATCH_CAPACITY);
  readonly #third = new Float64Array(BATCH_CAPACITY);

  /**
   * @param guest host address of `GuestMemory.buffer`'s first byte
   * @param listener whom to tell how requests ended; asked each time, for it may change
   */
  constructor(arena: NativeArena, fd: number, guest: number, listener: () => BlockListener | undefined) {
    this.#arena = arena;
    this.#fd = fd;
    this.#vectors = new IoVectors(guest);
    this.#listener = listener;
  }

  /** Whether nothing is gathered. */
  get empty(): boolean {
    return this.#count === 0;
  }

  /** Gathers a transfer between the file and buffers of a chain. @param single,vectored the system call for one buffer, and for several */
  transfer(
    tag: number,
    single: number,
    vectored: number,
    position: number,
    chain: DescriptorChain,
    from: number,
    to: number,
  ): void {
    if (!this.#vectors.hasRoom(to - from)) this.run();
    const many = this.#vectors.gather(chain, from, to);
    // preadv and pwritev take the position as two halves, of which the first holds all of it on 64-bit machines.
    this.add(tag, many ? vectored : single, this.#vectors.address, this.#vectors.length, position);
  }

  /** Gathers a system call. */
  add(tag: number, number: number, first: number, second: number, third: number): void {
    if (this.#count === BATCH_CAPACITY) this.run();
    const index = this.#count++;
    this.#tags[index] = tag;
    this.#calls[index] = number;
    this.#first[index] = first;
    this.#second[index] = second;
    this.#third[index] = third;
  }

  /** Carries out what was gathered, and tells how it ended. @returns how long the system calls took, as `NativeArena.kilocycles` */
  run(): number {
    const arena = this.#arena;
    const listener = this.#listener();
    const count = this.#count;
    let kilocycles = 0;
    for (let done = 0; done < count; ) {
      if (arena.room === 0) arena.submit();
      const end = Math.min(count, done + arena.room);
      let index = 0;
      for (let i = done; i < end; i++) {
        index = arena.queue(this.#calls[i]!, this.#fd, this.#first[i]!, this.#second[i]!, this.#third[i]!);
      }
      arena.submit();
      kilocycles += arena.kilocycles;
      const first = index - (end - done) + 1;
      for (let i = done; i < end; i++) listener?.complete(this.#tags[i]!, arena.result(first + i - done));
      done = end;
    }
    this.#count = 0;
    this.#vectors.clear();
    return kilocycles;
  }
}
