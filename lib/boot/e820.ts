import type { GuestMemory } from '../memory/guest-memory.ts';
import {
  BIOS_ROM_START,
  EBDA_START,
  HIGH_RAM_START,
  PCI_ECAM_SIZE,
  PCI_ECAM_START,
  VIDEO_RAM_START,
} from '../memory/layout.ts';
import { usableRanges } from './placement.ts';

/** Address range types (ACPI 6.5 §15.1); PVH's memory map has the same. */
export const E820_RAM = 1;
export const E820_RESERVED = 2;

/** One range of the guest's memory map. Bytes. */
export interface E820Entry {
  readonly address: number;
  readonly size: number;
  readonly type: number;
}

/**
 * The guest's memory map, by ascending address, without overlaps. What it does not mention is for devices.
 *
 * @param hasEcam whether a PCI host bridge has its configuration space there: Linux wants it reserved before it uses it
 */
export function e820Map(memory: GuestMemory, hasEcam: boolean): E820Entry[] {
  const entries: E820Entry[] = usableRanges(memory).map(({ start, end }) => ({
    address: start,
    size: end - start,
    type: E820_RAM,
  }));
  entries.push({ address: EBDA_START, size: VIDEO_RAM_START - EBDA_START, type: E820_RESERVED });
  entries.push({ address: BIOS_ROM_START, size: HIGH_RAM_START - BIOS_ROM_START, type: E820_RESERVED });
  if (hasEcam) entries.push({ address: PCI_ECAM_START, size: PCI_ECAM_SIZE, type: E820_RESERVED });
  return entries.sort((a, b) => a.address - b.address);
}
