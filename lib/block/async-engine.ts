import type { BlockBackend, BlockListener } from '../../devices/virtio/block/backend.ts';
import type { DescriptorChain } from '../../devices/virtio/chain.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  SYS_pwrite64,
  SYS_pwritev,
} from '../ffi/constants.ts';
import type { NativeArena } from '../loop/arena.ts';
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FALLOCATE,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_READV,
  IORING_OP_WRITE,
  IORING_OP_WRITEV,
} from '../uring/layout.ts';
import type { IoUring, UringOwner } from '../uring/ring.ts';
import { BATCH_CAPACITY, CallBatch } from './call-batch.ts';
import type { DiskImage } from './image.ts';
import { InlineWrites } from './inline-writes.ts';
import { IoVectors } from './io-vectors.ts';

/**
 * Firecracker's `Async` engine: requests go through an io_uring that drives share, and end in any order; but for writes that the page
 * cache takes at once.
 */
export class AsyncEngine implements BlockBackend, UringOwner {
  listener: BlockListener | undefined;
  readonly depth: number;
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  readonly canDiscard: boolean;
  readonly canWriteZeroes: boolean;
  readonly #ring: IoUring;
  readonly #vectors: IoVectors;
  readonly #file: number;
  readonly #owner: number;
  /** Writes that are made at once. */
  readonly #inline: CallBatch;
  readonly #inlineWrites: InlineWrites;
  #inlineBytes = 0;
  /** In the ring. */
  #inFlight = 0;

  /**
   * @param ring has room left; as much of it is taken as is of use
   * @param guest host address of `GuestMemory.buffer`'s first byte
   */
  constructor(image: DiskImage, ring: IoUring, arena: NativeArena, guest: number) {
    this.sectors = image.sectors;
    this.readOnly = image.readOnly;
    this.blockSize = image.blockSize;
    this.canDiscard = image.canPunchHoles;
    this.canWriteZeroes = image.canPunchHoles;
    this.#ring = ring;
    this.#vectors = new IoVectors(guest);
    this.depth = Math.min(BATCH_CAPACITY, ring.room);
    this.#owner = ring.reserve(this, this.depth);
    this.#file = ring.registerFile(image.fd);
    this.#inline = new CallBatch(arena, image.fd, guest, () => this.listener);
    this.#inlineWrites = new InlineWrites(image.isRegularFile);
  }

  read(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void {
    this.#transfer(tag, IORING_OP_READ, IORING_OP_READV, position, chain, from, to);
  }

  write(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void {
    // The header before the data has been taken off: what is left to read is what is to be written.
    const length = chain.readableLength;
    if (this.#inlineWrites.allows(position, length, this.#inlineBytes)) {
      this.#inlineBytes += length;
      this.#inline.transfer(tag, SYS_pwrite64, SYS_pwritev, position, chain, from, to);
      return;
    }
    this.#transfer(tag, IORING_OP_WRITE, IORING_OP_WRITEV, position, chain, from, to);
  }

  flush(tag: number): void {
    this.#begin(tag, IORING_OP_FSYNC, 0, 0, 0, IORING_FSYNC_DATASYNC);
  }

  discard(tag: number, position: number, length: number): void {
    this.#allocate(tag, FALLOC_FL_PUNCH_HOLE, position, length);
  }

  writeZeroes(tag: number, position: number, length: number, mayUnmap: boolean): void {
    this.#allocate(tag, mayUnmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, position, length);
  }

  submit(): void {
    // What the ring has comes first in the batch of system calls, so that the kernel may begin with it.
    this.#ring.submit();
    if (this.#inline.empty) return;
    this.#inlineWrites.took(this.#inline.run(), this.#inlineBytes);
    this.#inlineBytes = 0;
    this.listener?.completed();
  }

  drain(): void {
    this.submit();
    while (this.#inFlight > 0) this.#ring.wait();
  }

  /** Leaves the ring. The image stays open. */
  close(): void {
    this.drain();
    this.#ring.unregisterFile(this.#file);
    this.#ring.release(this.#owner, this.depth);
  }

  complete(tag: number, result: number): void {
    this.#inFlight--;
    this.listener?.complete(tag, result);
  }

  completed(): void {
    this.listener?.completed();
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
    const vectors = this.#vectors;
    // The kernel reads iovecs when it takes a request (IORING_FEAT_SUBMIT_STABLE).
    if (this.#ring.taken) vectors.clear();
    else if (!vectors.hasRoom(to - from)) {
      while (!this.#ring.taken) this.#ring.submitNow();
      vectors.clear();
    }
    const many = vectors.gather(chain, from, to);
    this.#begin(tag, many ? vectored : single, vectors.address, vectors.length, position, 0);
  }

  /** io_uring has fallocate's length where others have their address, and its mode where others have their length. */
  #allocate(tag: number, mode: number, position: number, length: number): void {
    this.#begin(tag, IORING_OP_FALLOCATE, length, mode | FALLOC_FL_KEEP_SIZE, position, 0);
  }

  #begin(tag: number, opcode: number, address: number, length: number, position: number, flags: number): void {
    this.#inFlight++;
    this.#ring.add(this.#owner, tag, opcode, this.#file, address, length, position, flags);
  }
}
