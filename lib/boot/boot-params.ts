import type { GuestMemory } from '../memory/guest-memory.ts';
import { MIB } from '../memory/layout.ts';
import { writeU64 } from './bytes.ts';
import type { E820Entry } from './e820.ts';
import {
  BOOT_FLAG,
  BOOT_PARAMS,
  BOOT_PARAMS_SIZE,
  HEADER_MAGIC,
  KASLR_FLAG,
  LOADED_HIGH,
  LOADER_UNDEFINED,
  SETUP,
  SETUP_HEADER_START,
} from './setup-header.ts';

/** What the zero page tells the kernel. Addresses and sizes in bytes. */
export interface BootParams {
  /** The bzImage's own setup header; `undefined` for a vmlinux, which has none. */
  readonly setupHeader: Uint8Array | undefined;
  /** Where the protected-mode kernel was loaded, for a bzImage that unpacks itself; else 0. */
  readonly code32Start: number;
  readonly cmdlineAddress: number;
  /** Without the final zero. */
  readonly cmdlineSize: number;
  /** Size 0: none. */
  readonly initrdAddress: number;
  readonly initrdSize: number;
  readonly e820: readonly E820Entry[];
  /** 0: no ACPI tables. */
  readonly rsdpAddress: number;
}

/** `struct boot_e820_entry`: address (8), size (8), type (4). */
const E820_ENTRY_SIZE = 20;
/** `E820_MAX_ENTRIES_ZEROPAGE` */
export const E820_MAX_ENTRIES = 128;

/** A vmlinux's alignment (`CONFIG_PHYSICAL_ALIGN`'s default), for its header that we make. */
const KERNEL_ALIGNMENT = 2 * MIB;
/** The protocol that the header we make follows: 2.15. */
const PROTOCOL_VERSION = 0x020f;

/** Writes the zero page, `struct boot_params`, at `address`. */
export function writeBootParams(memory: GuestMemory, address: number, params: BootParams): void {
  const offset = memory.offsetOf(address, BOOT_PARAMS_SIZE);
  const page = new DataView(memory.buffer, offset, BOOT_PARAMS_SIZE);
  memory.bytes.fill(0, offset, offset + BOOT_PARAMS_SIZE);

  // Zeroes but for the header: boot.rst forbids to copy more of the image than that.
  if (params.setupHeader !== undefined) {
    memory.bytes.set(params.setupHeader, offset + SETUP_HEADER_START);
  } else {
    page.setUint16(SETUP.boot_flag, BOOT_FLAG, true);
    page.setUint32(SETUP.header, HEADER_MAGIC, true);
    page.setUint16(SETUP.version, PROTOCOL_VERSION, true);
    page.setUint32(SETUP.kernel_alignment, KERNEL_ALIGNMENT, true);
    page.setUint32(SETUP.cmdline_size, params.cmdlineSize, true);
  }
  page.setUint8(SETUP.type_of_loader, LOADER_UNDEFINED);
  // The kernel stays where it was linked: whatever the image says, nobody has moved it.
  const loadflags = page.getUint8(SETUP.loadflags) & ~KASLR_FLAG;
  page.setUint8(SETUP.loadflags, loadflags | LOADED_HIGH);
  page.setUint32(SETUP.code32_start, params.code32Start, true);
  writeU64(page, SETUP.setup_data, 0);

  setSplit(page, SETUP.cmd_line_ptr, BOOT_PARAMS.ext_cmd_line_ptr, params.cmdlineAddress);
  setSplit(page, SETUP.ramdisk_image, BOOT_PARAMS.ext_ramdisk_image, params.initrdAddress);
  setSplit(page, SETUP.ramdisk_size, BOOT_PARAMS.ext_ramdisk_size, params.initrdSize);
  writeU64(page, BOOT_PARAMS.acpi_rsdp_addr, params.rsdpAddress);

  if (params.e820.length > E820_MAX_ENTRIES) throw new RangeError('the zero page holds 128 memory ranges at most');
  page.setUint8(BOOT_PARAMS.e820_entries, params.e820.length);
  for (const [i, entry] of params.e820.entries()) {
    const at = BOOT_PARAMS.e820_table + i * E820_ENTRY_SIZE;
    writeU64(page, at, entry.address);
    writeU64(page, at + 8, entry.size);
    page.setUint32(at + 16, entry.type, true);
  }
}

/** The setup header's field has the low half; the zero page has the high half elsewhere (protocol 2.12). */
function setSplit(page: DataView, lowAt: number, highAt: number, value: number): void {
  page.setUint32(lowAt, value % 2 ** 32, true);
  page.setUint32(highAt, Math.floor(value / 2 ** 32), true);
}
