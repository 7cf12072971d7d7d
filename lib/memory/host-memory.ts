import type { HugePages } from '../config/types.ts';
import { ConfigError, HostError } from '../errors.ts';
import {
  MADV_HUGEPAGE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_HUGE_2MB,
  MAP_HUGETLB,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { GuestMemory, HUGE_PAGE_SIZE } from './guest-memory.ts';
import { MIB } from './layout.ts';

/** Guest memory that KVM can use: its host address is known, and it is backed as `huge_pages` asks. */
export class HostMemory {
  readonly guest: GuestMemory;
  readonly #native: NativeBuffer;

  /**
   * Untouched pages cost nothing, however large it is.
   * @param size bytes
   * @throws HostError where the host has not got that much address space, or not that many huge pages
   */
  constructor(size: number, hugePages: HugePages) {
    if (hugePages === '2M' && size % HUGE_PAGE_SIZE !== 0) {
      throw new ConfigError('the memory size is not a multiple of 2 MiB', {
        where: '/machine-config/mem_size_mib',
        hint: 'with huge_pages 2M, give an even number of MiB',
      });
    }
    try {
      this.#native = new NativeBuffer(size, HUGE_PAGE_SIZE);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new HostError(`this host cannot give ${size / MIB} MiB to a guest`, {
        where: '/machine-config/mem_size_mib',
        hint: 'give the guest less memory, or raise the limit on address space (ulimit -v)',
        cause: error,
      });
    }
    this.guest = new GuestMemory(this.#native.buffer, this.#native.base, size);
    const { address } = this.#native;
    if (hugePages === 'Transparent') {
      call('madvise', 'use transparent huge pages', address, size, MADV_HUGEPAGE);
    } else if (hugePages === '2M') {
      const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB | MAP_HUGE_2MB;
      const mapped = tryCall('mmap', address, size, PROT_READ | PROT_WRITE, flags, -1, 0);
      if (mapped !== address) {
        const pages = size / HUGE_PAGE_SIZE;
        throw new SystemError('mmap', -mapped, `use ${pages} huge pages of 2 MiB`, {
          where: '/machine-config/huge_pages',
          hint: `reserve them first: sudo sysctl vm.nr_hugepages=${pages}`,
        });
      }
    }
  }

  /** The host address of a byte, from its offset in `guest.buffer`. */
  addressOf(offset: number): number {
    return this.#native.address - this.#native.base + offset;
  }
}
