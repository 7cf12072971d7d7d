import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';

export const PTE_P = 1n;
export const PTE_RW = 2n;
export const PTE_US = 4n;
export const PTE_A = 0x20n;
export const PTE_D = 0x40n;
export const PTE_PS = 0x80n;
export const PTE_XD = 1n << 63n;

/** Builds 4- or 5-level page tables in guest memory, taking pages from an address on. */
export class PageTables {
  readonly root: number;
  readonly #memory: GuestMemory;
  readonly #levels: number;
  #next: number;

  constructor(memory: GuestMemory, start: number, levels = 4) {
    this.#memory = memory;
    this.#levels = levels;
    this.root = start;
    this.#next = start + 0x1000;
  }

  /**
   * Maps one page.
   * @param flags of the last entry
   * @param level 1: 4 KiB, 2: 2 MiB, 3: 1 GiB
   * @param parentFlags of the entries above it that are not there yet
   */
  map(linear: bigint, physical: number, flags: bigint, level = 1, parentFlags: bigint = PTE_P | PTE_RW | PTE_US): void {
    const at = this.entryAddress(linear, level, parentFlags);
    this.#memory.view.setBigUint64(this.#memory.offsetOf(at, 8), BigInt(physical) | flags, true);
  }

  /** Where the entry for `linear` is at a level. */
  entryAddress(linear: bigint, level: number, parentFlags: bigint = PTE_P | PTE_RW | PTE_US): number {
    let table = this.root;
    for (let i = this.#levels; i > level; i--) {
      const at = table + indexAt(linear, i);
      const entry = this.read(at);
      if (entry === 0n) {
        this.write(at, BigInt(this.#next) | parentFlags);
        table = this.#next;
        this.#next += 0x1000;
      } else {
        table = Number(entry & 0x000f_ffff_ffff_f000n);
      }
    }
    return table + indexAt(linear, level);
  }

  read(address: number): bigint {
    return this.#memory.view.getBigUint64(this.#memory.offsetOf(address, 8), true);
  }

  write(address: number, entry: bigint): void {
    this.#memory.view.setBigUint64(this.#memory.offsetOf(address, 8), entry, true);
  }
}

function indexAt(linear: bigint, level: number): number {
  return Number((linear >> BigInt(12 + 9 * (level - 1))) & 0x1ffn) * 8;
}
