import type { PageReleaser } from '../../devices/virtio/balloon/page-releaser.ts';
import { MADV_DONTNEED, SYS_madvise } from '../ffi/constants.ts';
import { CALLS_PER_BATCH, type NativeArena } from '../loop/arena.ts';

/**
 * Gives guest memory back to the host by madvise(2), MADV_DONTNEED: many ranges in one foreign call.
 *
 * Memory that is private and anonymous reads as zeros afterwards; that of a file mapped privately reads as the file again, which is
 * as good for what a guest has given up.
 */
export class MadvisePageReleaser implements PageReleaser {
  readonly pageSize: number;
  readonly #arena: NativeArena;
  readonly #guest: number;
  readonly #addresses = new Float64Array(CALLS_PER_BATCH);
  readonly #lengths = new Float64Array(CALLS_PER_BATCH);
  #count = 0;
  #failed = 0;

  /**
   * @param guest host address of `GuestMemory.buffer`'s first byte
   * @param pageSize of guest memory on the host, in bytes: 4096, or 2 MiB with `huge_pages` 2M
   */
  constructor(arena: NativeArena, guest: number, pageSize: number) {
    this.#arena = arena;
    this.#guest = guest;
    this.pageSize = pageSize;
  }

  releasePages(offset: number, length: number): void {
    if (this.#count === CALLS_PER_BATCH) this.#run();
    this.#addresses[this.#count] = this.#guest + offset;
    this.#lengths[this.#count] = length;
    this.#count++;
  }

  finish(): number {
    if (this.#count > 0) this.#run();
    const failed = this.#failed;
    this.#failed = 0;
    return failed;
  }

  #run(): void {
    const arena = this.#arena;
    const count = this.#count;
    if (arena.room < count) arena.submit();
    let last = 0;
    for (let i = 0; i < count; i++) {
      last = arena.queue(SYS_madvise, this.#addresses[i]!, this.#lengths[i]!, MADV_DONTNEED);
    }
    arena.submit();
    for (let i = last - count + 1; i <= last; i++) {
      if (arena.result(i) < 0) this.#failed++;
    }
    this.#count = 0;
  }
}
