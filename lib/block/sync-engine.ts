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
import { BATCH_CAPACITY, CallBatch } from './call-batch.ts';
import type { DiskImage } from './image.ts';

/**
 * Firecracker's `Sync` engine: requests are system calls that are waited for. What came in one batch goes to the kernel in as few
 * foreign calls as the arena's batches allow.
 */
export class SyncEngine implements BlockBackend {
  listener: BlockListener | undefined;
  readonly depth = BATCH_CAPACITY;
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  readonly canDiscard: boolean;
  readonly canWriteZeroes: boolean;
  readonly #batch: CallBatch;

  /** @param guest host address of `GuestMemory.buffer`'s first byte */
  constructor(image: DiskImage, arena: NativeArena, guest: number) {
    this.sectors = image.sectors;
    this.readOnly = image.readOnly;
    this.blockSize = image.blockSize;
    this.canDiscard = image.canPunchHoles;
    this.canWriteZeroes = image.canPunchHoles;
    this.#batch = new CallBatch(arena, image.fd, guest, () => this.listener);
  }

  read(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void {
    this.#batch.transfer(tag, SYS_pread64, SYS_preadv, position, chain, from, to);
  }

  write(tag: number, position: number, chain: DescriptorChain, from: number, to: number): void {
    this.#batch.transfer(tag, SYS_pwrite64, SYS_pwritev, position, chain, from, to);
  }

  flush(tag: number): void {
    this.#batch.add(tag, SYS_fdatasync, 0, 0, 0);
  }

  discard(tag: number, position: number, length: number): void {
    this.#batch.add(tag, SYS_fallocate, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, position, length);
  }

  writeZeroes(tag: number, position: number, length: number, mayUnmap: boolean): void {
    const mode = mayUnmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
    this.#batch.add(tag, SYS_fallocate, mode | FALLOC_FL_KEEP_SIZE, position, length);
  }

  submit(): void {
    if (this.#batch.empty) return;
    this.#batch.run();
    this.listener?.completed();
  }

  drain(): void {
    this.submit();
  }

  /** The image stays open. */
  close(): void {
    this.drain();
  }
}
