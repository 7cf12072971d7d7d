import { IOAPIC_BASE, LOCAL_APIC_BASE, PCI_ECAM_SIZE, PCI_ECAM_START } from '../../memory/layout.ts';
import {
  ACPI_RESET_PORT,
  ACPI_RESET_VALUE,
  ACPI_SLEEP_CONTROL_PORT,
  ACPI_SLEEP_STATUS_PORT,
  CMOS_CENTURY_INDEX,
} from '../../memory/ports.ts';
import { checksum, writeText, writeU64 } from '../bytes.ts';
import type { MachineDevices } from '../devices.ts';
import { dsdtAml } from './dsdt.ts';

/*
 * ACPI's tables (ACPI 6.5, chapter 5.2) of a hardware-reduced machine: no PM timer, no SCI, no fixed events; power and reset are one
 * port each.
 */

/** §5.2.6: every table but the RSDP begins with this. */
const HEADER_SIZE = 36;
const OEM_ID = 'MVM   ';
const OEM_TABLE_ID = 'MICROVM ';
const CREATOR_ID = 'MVM ';
const OEM_REVISION = 1;
const CREATOR_REVISION = 1;

/** §5.2.5.3 */
const RSDP_SIZE = 36;
const RSDP_SIZE_1_0 = 20;
const RSDP_REVISION = 2;

/** §5.2.9: revision 6.5. */
const FADT_SIZE = 276;
const FADT_REVISION = 6;
const FADT_MINOR_REVISION = 5;
const FADT = {
  DSDT: 40,
  CENTURY: 108,
  IAPC_BOOT_ARCH: 109,
  Flags: 112,
  RESET_REG: 116,
  RESET_VALUE: 128,
  FADT_Minor_Version: 131,
  X_DSDT: 140,
  SLEEP_CONTROL_REG: 244,
  SLEEP_STATUS_REG: 256,
  Hypervisor_Vendor_Identity: 268,
} as const;

/** §5.2.9.3, IA-PC boot architecture flags. */
const LEGACY_DEVICES = 1 << 0;
const HAS_8042 = 1 << 1;
const VGA_NOT_PRESENT = 1 << 2;
const CMOS_RTC_NOT_PRESENT = 1 << 5;

/** §5.2.9, table 5.10: fixed feature flags. The two buttons: none of the fixed kind. */
const WBINVD = 1 << 0;
const PROC_C1 = 1 << 2;
const PWR_BUTTON = 1 << 4;
const SLP_BUTTON = 1 << 5;
const RESET_REG_SUP = 1 << 10;
const HW_REDUCED_ACPI = 1 << 20;

/** §5.2.3.2, generic address structure. */
const GAS_SIZE = 12;
const SYSTEM_IO = 1;
const BYTE_ACCESS = 1;

/** §5.2.12 */
const MADT_REVISION = 6;
const PCAT_COMPAT = 1 << 0;
const PROCESSOR_LOCAL_APIC = 0;
const IO_APIC = 1;
const LOCAL_APIC_NMI = 4;
const LOCAL_APIC_ENABLED = 1 << 0;
const ALL_PROCESSORS = 0xff;

const XSDT_REVISION = 1;
const DSDT_REVISION = 2;
/** PCI Firmware Specification 3.2, §4.1.2. */
const MCFG_REVISION = 1;

const TABLE_ALIGNMENT = 16;

/** A table with its header: `body` begins at offset 36. The check sum is right. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + body.length);
  const view = new DataView(bytes.buffer);
  writeText(bytes, 0, signature);
  view.setUint32(4, bytes.length, true);
  bytes[8] = revision;
  writeText(bytes, 10, OEM_ID);
  writeText(bytes, 16, OEM_TABLE_ID);
  view.setUint32(24, OEM_REVISION, true);
  writeText(bytes, 28, CREATOR_ID);
  view.setUint32(32, CREATOR_REVISION, true);
  bytes.set(body, HEADER_SIZE);
  bytes[9] = checksum(bytes);
  return bytes;
}

/** A register of one byte in I/O space. */
function writePortAddress(view: DataView, at: number, port: number): void {
  view.setUint8(at, SYSTEM_IO);
  view.setUint8(at + 1, 8);
  view.setUint8(at + 3, BYTE_ACCESS);
  writeU64(view, at + GAS_SIZE - 8, port);
}

function fadt(dsdtAddress: number, devices: MachineDevices): Uint8Array {
  const body = new Uint8Array(FADT_SIZE - HEADER_SIZE);
  // Offsets are those of the whole table.
  const view = new DataView(body.buffer);
  const at = (offset: number) => offset - HEADER_SIZE;
  view.setUint32(at(FADT.DSDT), dsdtAddress, true);
  writeU64(view, at(FADT.X_DSDT), dsdtAddress);
  if (devices.rtc) view.setUint8(at(FADT.CENTURY), CMOS_CENTURY_INDEX);
  const bootFlags =
    VGA_NOT_PRESENT |
    (devices.rtc ? 0 : CMOS_RTC_NOT_PRESENT) |
    (devices.serial || devices.i8042 ? LEGACY_DEVICES : 0) |
    (devices.i8042 ? HAS_8042 : 0);
  view.setUint16(at(FADT.IAPC_BOOT_ARCH), bootFlags, true);
  view.setUint32(at(FADT.Flags), WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | RESET_REG_SUP | HW_REDUCED_ACPI, true);
  writePortAddress(view, at(FADT.RESET_REG), ACPI_RESET_PORT);
  view.setUint8(at(FADT.RESET_VALUE), ACPI_RESET_VALUE);
  view.setUint8(at(FADT.FADT_Minor_Version), FADT_MINOR_REVISION);
  writePortAddress(view, at(FADT.SLEEP_CONTROL_REG), ACPI_SLEEP_CONTROL_PORT);
  writePortAddress(view, at(FADT.SLEEP_STATUS_REG), ACPI_SLEEP_STATUS_PORT);
  writeText(body, at(FADT.Hypervisor_Vendor_Identity), 'KVM');
  return table('FACP', FADT_REVISION, body);
}

/**
 * The MADT: a local APIC a vCPU, the IOAPIC, and NMI at LINT1. APIC ids are below 255, so the entries are those of the xAPIC (§5.2.12.12
 * keeps x2APIC's for higher ones); ISA interrupts are GSIs as they are, so there are no overrides.
 */
function madt(vcpuCount: number): Uint8Array {
  const entries: number[] = [];
  for (let id = 0; id < vcpuCount; id++) entries.push(PROCESSOR_LOCAL_APIC, 8, id, id, LOCAL_APIC_ENABLED, 0, 0, 0);
  entries.push(IO_APIC, 12, vcpuCount, 0, ...u32(IOAPIC_BASE), ...u32(0));
  entries.push(LOCAL_APIC_NMI, 6, ALL_PROCESSORS, 0, 0, 1);
  return table('APIC', MADT_REVISION, Uint8Array.from([...u32(LOCAL_APIC_BASE), ...u32(PCAT_COMPAT), ...entries]));
}

/** Where PCI's memory-mapped configuration space is: segment 0, bus 0. */
function mcfg(): Uint8Array {
  const body = new Uint8Array(8 + 16);
  const view = new DataView(body.buffer);
  writeU64(view, 8, PCI_ECAM_START);
  view.setUint8(8 + 11, PCI_ECAM_SIZE / 2 ** 20 - 1);
  return table('MCFG', MCFG_REVISION, body);
}

function u32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

/** All tables in one piece, made for one place. */
export interface AcpiTables {
  /** Goes to the address that they were made for; the RSDP is first. */
  readonly bytes: Uint8Array;
  /** Offset in `bytes` of each table by its signature. */
  readonly offsets: ReadonlyMap<string, number>;
}

/**
 * Builds the tables for `address`, a multiple of 16 below 4 GiB. A guest that is not told where the RSDP is searches it between 0xe0000
 * and 0xfffff (§5.2.5.1).
 */
export function buildAcpiTables(address: number, vcpuCount: number, devices: MachineDevices): AcpiTables {
  const offsets = new Map<string, number>();
  const parts: Uint8Array[] = [];
  let end = RSDP_SIZE;
  const place = (signature: string, bytes: Uint8Array): number => {
    const offset = Math.ceil(end / TABLE_ALIGNMENT) * TABLE_ALIGNMENT;
    offsets.set(signature, offset);
    parts.push(bytes);
    end = offset + bytes.length;
    return address + offset;
  };
  const dsdt = place('DSDT', table('DSDT', DSDT_REVISION, Uint8Array.from(dsdtAml(vcpuCount, devices))));
  const listed = [place('FACP', fadt(dsdt, devices)), place('APIC', madt(vcpuCount))];
  if (devices.pci !== undefined) listed.push(place('MCFG', mcfg()));
  const entries = new Uint8Array(listed.length * 8);
  const entriesView = new DataView(entries.buffer);
  for (const [i, tableAddress] of listed.entries()) writeU64(entriesView, i * 8, tableAddress);
  const xsdt = place('XSDT', table('XSDT', XSDT_REVISION, entries));

  const bytes = new Uint8Array(end);
  for (const [i, offset] of [...offsets.values()].entries()) bytes.set(parts[i]!, offset);
  const view = new DataView(bytes.buffer);
  offsets.set('RSD PTR ', 0);
  writeText(bytes, 0, 'RSD PTR ');
  writeText(bytes, 9, OEM_ID);
  bytes[15] = RSDP_REVISION;
  view.setUint32(20, RSDP_SIZE, true);
  writeU64(view, 24, xsdt);
  bytes[8] = checksum(bytes.subarray(0, RSDP_SIZE_1_0));
  bytes[32] = checksum(bytes.subarray(0, RSDP_SIZE));
  return { bytes, offsets };
}
