import type { GuestMemory } from '../memory/guest-memory.ts';
import { writeU64 } from './bytes.ts';
import type { E820Entry } from './e820.ts';

/*
 * PVH's start info (Xen: xen/include/public/arch-x86/hvm/start_info.h, version 1): the structure itself, then its module list, then its
 * memory map, in one piece of memory.
 */

const XEN_HVM_START_MAGIC_VALUE = 0x336e_c578;
const VERSION = 1;

/** `struct hvm_start_info`, and the offsets of its fields. */
const START_INFO_SIZE = 56;
const START_INFO = {
  magic: 0,
  version: 4,
  flags: 8,
  nr_modules: 12,
  modlist_paddr: 16,
  cmdline_paddr: 24,
  rsdp_paddr: 32,
  memmap_paddr: 40,
  memmap_entries: 48,
} as const;
/** `struct hvm_modlist_entry`: address (8), size (8), its command line's address (8), reserved (8). */
const MODLIST_ENTRY_SIZE = 32;
/** `struct hvm_memmap_table_entry`: address (8), size (8), type (4), reserved (4). */
const MEMMAP_ENTRY_SIZE = 24;

/** What the start info tells the kernel. Addresses and sizes in bytes. */
export interface StartInfo {
  readonly cmdlineAddress: number;
  /** Size 0: none. */
  readonly initrdAddress: number;
  readonly initrdSize: number;
  readonly e820: readonly E820Entry[];
  /** 0: no ACPI tables. */
  readonly rsdpAddress: number;
}

/** Bytes that `writeStartInfo` takes. */
export function startInfoSize(memoryMapLength: number): number {
  return START_INFO_SIZE + MODLIST_ENTRY_SIZE + memoryMapLength * MEMMAP_ENTRY_SIZE;
}

/** Writes the start info at `address`. */
export function writeStartInfo(memory: GuestMemory, address: number, info: StartInfo): void {
  const size = startInfoSize(info.e820.length);
  const offset = memory.offsetOf(address, size);
  memory.bytes.fill(0, offset, offset + size);
  const view = new DataView(memory.buffer, offset, size);
  const modlist = START_INFO_SIZE;
  const memmap = modlist + MODLIST_ENTRY_SIZE;
  view.setUint32(START_INFO.magic, XEN_HVM_START_MAGIC_VALUE, true);
  view.setUint32(START_INFO.version, VERSION, true);
  writeU64(view, START_INFO.cmdline_paddr, info.cmdlineAddress);
  writeU64(view, START_INFO.rsdp_paddr, info.rsdpAddress);
  if (info.initrdSize > 0) {
    view.setUint32(START_INFO.nr_modules, 1, true);
    writeU64(view, START_INFO.modlist_paddr, address + modlist);
    writeU64(view, modlist, info.initrdAddress);
    writeU64(view, modlist + 8, info.initrdSize);
  }
  writeU64(view, START_INFO.memmap_paddr, address + memmap);
  view.setUint32(START_INFO.memmap_entries, info.e820.length, true);
  for (const [i, entry] of info.e820.entries()) {
    const at = memmap + i * MEMMAP_ENTRY_SIZE;
    writeU64(view, at, entry.address);
    writeU64(view, at + 8, entry.size);
    view.setUint32(at + 16, entry.type, true);
  }
}
