import type { GuestMemory } from '../memory/guest-memory.ts';
import { GIB, KIB } from '../memory/layout.ts';

/*
 * The page tables that the 64-bit boot protocol asks for: identity-mapped, 2 MiB pages (Intel SDM vol. 3A §4.5, "4-level paging").
 */

const PAGE_SIZE = 4 * KIB;
const ENTRIES = 512;

/** Bits of an entry: present, writable, and (in a page directory) a page of 2 MiB. */
const P = 1 << 0;
const RW = 1 << 1;
const PS = 1 << 7;

const PAGE_SHIFT_2M = 21;

/** How much is mapped: all that 32 bits reach, so that wherever kernel, zero page and command line lie, they are mapped. */
export const MAPPED_SIZE = 4 * GIB;
const DIRECTORIES = MAPPED_SIZE / GIB;

/** One PML4, one page-directory-pointer table, four page directories: 24 KiB. */
export const PAGE_TABLES_SIZE = (2 + DIRECTORIES) * PAGE_SIZE;
export const PAGE_TABLES_ALIGNMENT = PAGE_SIZE;

/**
 * Writes the page tables at `address`, which goes into CR3. The memory must be below 4 GiB.
 * @throws GuestAddressError where there is no RAM
 */
export function writePageTables(memory: GuestMemory, address: number): void {
  const offset = memory.offsetOf(address, PAGE_TABLES_SIZE);
  // The tables lie at a multiple of 4 KiB in guest memory, and that at a multiple of 8 bytes in its buffer.
  const entries = new Uint32Array(memory.buffer, offset, PAGE_TABLES_SIZE / 4);
  entries.fill(0);
  const words = 2 * ENTRIES;
  const pdpt = address + PAGE_SIZE;
  entries[0] = pdpt + (P | RW);
  for (let i = 0; i < DIRECTORIES; i++) entries[words + 2 * i] = pdpt + (1 + i) * PAGE_SIZE + (P | RW);
  for (let i = 0; i < DIRECTORIES * ENTRIES; i++) entries[2 * words + 2 * i] = i * 2 ** PAGE_SHIFT_2M + (P | RW | PS);
}
