import { IOAPIC_BASE, LOCAL_APIC_BASE } from '../memory/layout.ts';
import { IOAPIC_PIN_COUNT } from '../memory/ports.ts';
import { checksum, writeText } from './bytes.ts';

/*
 * The MultiProcessor Specification's tables (Intel, version 1.4, chapter 4): how a kernel without ACPI finds CPUs and interrupt routing.
 */

/** §4.1. The floating pointer is searched on 16-byte boundaries. */
export const MP_FLOATING_POINTER_SIZE = 16;
const SPEC_REVISION_1_4 = 4;

/** §4.2 */
const HEADER_SIZE = 44;
const OEM_ID = 'MVM     ';
const PRODUCT_ID = 'MICROVM     ';

/** §4.3, table 4-3: entry types, and their sizes. */
const ENTRY_PROCESSOR = 0;
const ENTRY_BUS = 1;
const ENTRY_IOAPIC = 2;
const ENTRY_IO_INTERRUPT = 3;
const ENTRY_LOCAL_INTERRUPT = 4;
const PROCESSOR_SIZE = 20;
const OTHER_SIZE = 8;

/** §4.3.1 */
const CPU_ENABLED = 1 << 0;
const CPU_BOOT = 1 << 1;
/** Family 6: any CPU that runs us. The guest's own CPUID says more, and kernels ask that. */
const CPU_SIGNATURE = 0x600;
const CPU_FEATURE_FPU = 1 << 0;
const CPU_FEATURE_APIC = 1 << 9;

/** What KVM's local APIC and IOAPIC have in their version registers. */
const LOCAL_APIC_VERSION = 0x14;
const IOAPIC_VERSION = 0x11;
const IOAPIC_ENABLED = 1;

/** §4.3.4, table 4-10: interrupt types, and flags. */
const INTERRUPT_INT = 0;
const INTERRUPT_NMI = 1;
const INTERRUPT_EXTINT = 3;
/** Polarity and trigger as the source bus has them: for ISA active high, edge. */
const FLAGS_CONFORM = 0;
/** Active high, edge: said outright for sources that no ISA bus has. */
const FLAGS_HIGH_EDGE = 0b0101;

/** §4.3.5: all local APICs. */
const ALL_LOCAL_APICS = 0xff;

const ISA_IRQ_COUNT = 16;

/** An interrupt pin of a PCI device. */
export interface PciInterrupt {
  /** Device number on bus 0. */
  readonly slot: number;
  /** 0 to 3: INTA# to INTD#. */
  readonly pin: number;
  readonly gsi: number;
}

/** What the table describes. */
export interface MpTableOptions {
  /** APIC ids are 0 to `vcpuCount - 1`; the IOAPIC has the next. */
  readonly vcpuCount: number;
  /** GSIs above the ISA's 15 that devices without a bus of their own use. */
  readonly extraGsis: readonly number[];
  /** Interrupt pins on PCI bus 0; `undefined`: no PCI. */
  readonly pci: readonly PciInterrupt[] | undefined;
}

/** The configuration table (§4.2, §4.3): its entries go by ascending type. */
export function buildMpTable(options: MpTableOptions): Uint8Array {
  const { vcpuCount, pci } = options;
  const ioapicId = vcpuCount;
  // A PCI bus has the id of its number; the ISA bus comes after it.
  const isaBus = pci === undefined ? 0 : 1;
  const extraGsis = [...new Set(options.extraGsis)].filter((gsi) => gsi >= ISA_IRQ_COUNT && gsi < IOAPIC_PIN_COUNT);
  const buses = isaBus + 1;
  const interrupts = ISA_IRQ_COUNT + extraGsis.length + (pci?.length ?? 0);
  const size = HEADER_SIZE + vcpuCount * PROCESSOR_SIZE + (buses + 1 + interrupts + 2) * OTHER_SIZE;
  const table = new Uint8Array(size);
  const view = new DataView(table.buffer);

  let at = HEADER_SIZE;
  let count = 0;
  const next = (type: number, entrySize: number): number => {
    const entry = at;
    table[entry] = type;
    at += entrySize;
    count++;
    return entry;
  };
  for (let id = 0; id < vcpuCount; id++) {
    const entry = next(ENTRY_PROCESSOR, PROCESSOR_SIZE);
    table[entry + 1] = id;
    table[entry + 2] = LOCAL_APIC_VERSION;
    table[entry + 3] = CPU_ENABLED | (id === 0 ? CPU_BOOT : 0);
    view.setUint32(entry + 4, CPU_SIGNATURE, true);
    view.setUint32(entry + 8, CPU_FEATURE_FPU | CPU_FEATURE_APIC, true);
  }
  for (let id = 0; id < buses; id++) {
    const entry = next(ENTRY_BUS, OTHER_SIZE);
    table[entry + 1] = id;
    writeText(table, entry + 2, id === isaBus ? 'ISA   ' : 'PCI   ');
  }
  const ioapic = next(ENTRY_IOAPIC, OTHER_SIZE);
  table[ioapic + 1] = ioapicId;
  table[ioapic + 2] = IOAPIC_VERSION;
  table[ioapic + 3] = IOAPIC_ENABLED;
  view.setUint32(ioapic + 4, IOAPIC_BASE, true);

  const interrupt = (
    type: number,
    kind: number,
    flags: number,
    bus: number,
    source: number,
    apic: number,
    pin: number,
  ) => {
    const entry = next(type, OTHER_SIZE);
    table[entry + 1] = kind;
    view.setUint16(entry + 2, flags, true);
    table[entry + 4] = bus;
    table[entry + 5] = source;
    table[entry + 6] = apic;
    table[entry + 7] = pin;
  };
  const io = (flags: number, bus: number, source: number, pin: number) =>
    interrupt(ENTRY_IO_INTERRUPT, INTERRUPT_INT, flags, bus, source, ioapicId, pin);
  for (let irq = 0; irq < ISA_IRQ_COUNT; irq++) io(FLAGS_CONFORM, isaBus, irq, irq);
  for (const gsi of extraGsis) io(FLAGS_HIGH_EDGE, isaBus, gsi, gsi);
  // §4.3.4, table 4-11 and appendix D.3: on PCI the source is the device's number and its pin.
  for (const { slot, pin, gsi } of pci ?? []) io(FLAGS_CONFORM, 0, (slot << 2) | pin, gsi);
  interrupt(ENTRY_LOCAL_INTERRUPT, INTERRUPT_EXTINT, FLAGS_CONFORM, isaBus, 0, 0, 0);
  interrupt(ENTRY_LOCAL_INTERRUPT, INTERRUPT_NMI, FLAGS_CONFORM, isaBus, 0, ALL_LOCAL_APICS, 1);

  writeText(table, 0, 'PCMP');
  view.setUint16(4, size, true);
  table[6] = SPEC_REVISION_1_4;
  writeText(table, 8, OEM_ID);
  writeText(table, 16, PRODUCT_ID);
  view.setUint16(34, count, true);
  view.setUint32(36, LOCAL_APIC_BASE, true);
  table[7] = checksum(table);
  return table;
}

/** The floating pointer (§4.1) to a configuration table at `tableAddress`, below 4 GiB. */
export function buildMpFloatingPointer(tableAddress: number): Uint8Array {
  const pointer = new Uint8Array(MP_FLOATING_POINTER_SIZE);
  writeText(pointer, 0, '_MP_');
  new DataView(pointer.buffer).setUint32(4, tableAddress, true);
  pointer[8] = 1; // its length, in 16 bytes
  pointer[9] = SPEC_REVISION_1_4;
  // Feature byte 1 is 0: a table is there. Byte 2 is 0: virtual wire mode, no IMCR.
  pointer[10] = checksum(pointer);
  return pointer;
}
