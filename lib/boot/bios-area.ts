import { ConfigError } from '../errors.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { BIOS_ROM_START, EBDA_START, VIDEO_RAM_START } from '../memory/layout.ts';
import type { MachineDevices } from './devices.ts';
import { buildMpFloatingPointer, buildMpTable, MP_FLOATING_POINTER_SIZE } from './mptable.ts';
import type { Placement } from './placement.ts';

/*
 * What firmware would leave below 1 MiB: the MP table in the extended BIOS data area, ACPI's tables in the BIOS ROM's place. Both are
 * RAM that the guest's memory map does not offer, so nothing else is there.
 *
 * The MP table is there with ACPI too: a kernel that needs none looks for it all the same, and searches 64 KiB where it finds none.
 */

/** BIOS data area: the segment of the extended area, and the KiB of memory below that. They lead to the MP table (MP 1.4 §4). */
const BDA_EBDA_SEGMENT = 0x40e;
const BDA_MEMORY_SIZE = 0x413;
const BDA_FIELD_SIZE = 2;

/** The upper half of the BIOS area: for an MP table that is too large for the extended data area. ACPI's tables have the lower half. */
const LARGE_MP_TABLE_START = 0xf_0000;

/** Writes the MP table, and the BIOS data area's fields that lead to it. */
export function writeMpTable(
  memory: GuestMemory,
  vcpuCount: number,
  devices: MachineDevices,
  placement: Placement,
): void {
  const table = buildMpTable({
    vcpuCount,
    extraGsis: devices.virtioMmio.map(({ gsi }) => gsi),
    pci: devices.pci?.interrupts,
  });
  const fitsBehindPointer = EBDA_START + MP_FLOATING_POINTER_SIZE + table.length <= VIDEO_RAM_START;
  const tableAddress = fitsBehindPointer ? EBDA_START + MP_FLOATING_POINTER_SIZE : LARGE_MP_TABLE_START;
  memory.write(EBDA_START, buildMpFloatingPointer(tableAddress));
  memory.write(tableAddress, table);

  // A bare-metal kernel may be linked to the very bottom of memory, which then is its own.
  if (placement.occupant(BDA_EBDA_SEGMENT, BDA_MEMORY_SIZE + BDA_FIELD_SIZE) === undefined) {
    memory.view.setUint16(memory.offsetOf(BDA_EBDA_SEGMENT, BDA_FIELD_SIZE), EBDA_START >> 4, true);
    memory.view.setUint16(memory.offsetOf(BDA_MEMORY_SIZE, BDA_FIELD_SIZE), EBDA_START >> 10, true);
  }
}

/**
 * Writes ACPI's tables.
 * @returns the RSDP's address
 * @throws ConfigError where there are more devices than the tables have room for
 */
export async function writeAcpiTables(
  memory: GuestMemory,
  vcpuCount: number,
  devices: MachineDevices,
): Promise<number> {
  const { buildAcpiTables } = await import('./acpi/tables.ts');
  const { bytes } = buildAcpiTables(BIOS_ROM_START, vcpuCount, devices);
  if (BIOS_ROM_START + bytes.length > LARGE_MP_TABLE_START) {
    throw new ConfigError('there are too many devices for the ACPI tables', { hint: 'leave some out' });
  }
  memory.write(BIOS_ROM_START, bytes);
  return BIOS_ROM_START;
}
