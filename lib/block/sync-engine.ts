import type { BlockBackend, BlockListener } from '../../devices/virtio/block/backend.ts';
import type { DescriptorChain } from '../../devices/virtio/chain.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  SYS_fallocate,
  SYS_fdatasync,
  SYS_pread64,
  SYS_preadv,
  SYS_pwrite64,
  SYS_pwritev,
} from '../ffi/constants.ts';
import type { NativeArena } from '../loop/arena.ts';
import type { DiskImage } from './image.ts';
import { IoVectors } from './io-vectors.ts';

/** Requests that are gathered before they are carried out: a queue's worth. */
const CAPACITY = 256;

/**
 * Firecracker's `Sync` engine: requests are system calls that are waited for. What came in one batch goes to the kernel in as few
 * foreign calls as the arena's batches allow.
 */
export class SyncEngine implements BlockBackend {
  listener: BlockListener | undefined;
  readonly depth = CAPACITY;
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  readonly canDiscard: boolean;
  readonly canWriteZeroes: boolean;
  readonly #image: DiskImage;
  readonly #arena: NativeArena;
  readonly #vectors: IoVectors;
  #count = 0;
  /** By request: system call, and its arguments behind the descriptor. */
  readonly #tags = new Uint32Array(CAPACITY);
  readonly #calls = new Uint32Array(CAPACITY);
  readonly #first = new Float64Array(CAPACITY);
  readonly #second = new Float64Array(CAPACITY);
  readonly #third = new Float64Array(CAPACITY);

  /** @param guest host address of `GuestMemory.buffer`'s first byte */
  constructor(image: DiskImage, arena: NativeArena, guest: number) {
    this.sectors = image.sectors;
    this.readOnly = image.readOnly;
    this.blockSize = image.blockSize;
    this.canDiscard = image.canPunchHoles;
    this.canWriteZeroes = image.canPunchHoles;
    this.#image = image;
    this.#arena = arena;
    this.#vectors = new IoVectors(guest);
  }

  read(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void {
    this.#transfer(tag, SYS_pread64, SYS_preadv, position, chain, from, to);
  }

  write(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void {
    this.#transfer(tag, SYS_pwrite64, SYS_pwritev, position, chain, from, to);
  }

  flush(tag: number): void {
    this.#begin(tag, SYS_fdatasync, 0, 0, 0);
  }

  discard(tag: number, position: number, length: number): void {
    this.#begin(tag, SYS_fallocate, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, position, length);
  }

  writeZeroes(tag: number, position: number, length: number, mayUnmap: boolean): void {
    const mode = mayUnmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
    this.#begin(tag, SYS_fallocate, mode | FALLOC_FL_KEEP_SIZE, position, length);
  }

  submit(): void {
    if (this.#count === 0) return;
    this.#run();
    this.listener?.completed();
  }

  drain(): void {
    this.submit();
  }

  /** The image stays open. */
  close(): void {
    this.drain();
  }

  #transfer(
    tag: number,
    single: number,
    vectored: number,
    position: number,
    chain: DescriptorChain,
    from: number,
    to: number,
  ): void {
    if (!this.#vectors.hasRoom(to - from)) this.#run();
    const many = this.#vectors.gather(chain, from, to);
    this.#begin(tag, many ? vectored : single, this.#vectors.address, this.#vectors.length, position);
  }

  #begin(tag: number, number: number, first: number, second: number, third: number): void {
    if (this.#count === CAPACITY) this.#run();
    const index = this.#count++;
    this.#tags[index] = tag;
    this.#calls[index] = number;
    this.#first[index] = first;
    this.#second[index] = second;
    this.#third[index] = third;
  }

  /** Carries out what was gathered, and tells how it ended. */
  #run(): void {
    const arena = this.#arena;
    const { fd } = this.#image;
    const count = this.#count;
    for (let done = 0; done < count; ) {
      if (arena.room === 0) arena.submit();
      const end = Math.min(count, done + arena.room);
      let index = 0;
      for (let i = done; i < end; i++) {
        // preadv and pwritev take the position as two halves, of which the first holds all of it on 64-bit machines.
        index = arena.queue(this.#calls[i]!, fd, this.#first[i]!, this.#second[i]!, this.#third[i]!);
      }
      arena.submit();
      const first = index - (end - done) + 1;
      for (let i = done; i < end; i++) this.listener?.complete(this.#tags[i]!, arena.result(first + i - done));
      done = end;
    }
    this.#count = 0;
    this.#vectors.clear();
  }
}
