import test from 'ava';
import { buildMpFloatingPointer, buildMpTable } from '../../lib/boot/mptable.ts';

/*
 * Read back by the offsets of the MultiProcessor Specification 1.4, chapter 4, and checked as Linux checks it (arch/x86/kernel/mpparse.c).
 */

interface Interrupt {
  readonly kind: number;
  readonly flags: number;
  readonly bus: number;
  readonly source: number;
  readonly apic: number;
  readonly pin: number;
}

interface Parsed {
  readonly processors: { readonly id: number; readonly flags: number }[];
  readonly buses: Map<number, string>;
  readonly ioapics: { readonly id: number; readonly flags: number; readonly address: number }[];
  readonly io: Interrupt[];
  readonly local: Interrupt[];
}

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

function parse(table: Uint8Array): Parsed {
  const bytes = Buffer.from(table);
  if (bytes.toString('latin1', 0, 4) !== 'PCMP') throw new Error('signature');
  if (bytes.readUInt16LE(4) !== bytes.length) throw new Error('length');
  if (bytes[6] !== 4) throw new Error('revision');
  if (sum(bytes) !== 0) throw new Error('check sum');
  if (bytes.readUInt32LE(36) !== 0xfee0_0000) throw new Error('local APIC');
  const parsed: Parsed = { processors: [], buses: new Map(), ioapics: [], io: [], local: [] };
  let at = 44;
  let previous = 0;
  for (let count = bytes.readUInt16LE(34); count > 0; count--) {
    const type = bytes[at]!;
    if (type < previous) throw new Error('entries are not sorted by type');
    previous = type;
    const interrupt = (): Interrupt => ({
      kind: bytes[at + 1]!,
      flags: bytes.readUInt16LE(at + 2),
      bus: bytes[at + 4]!,
      source: bytes[at + 5]!,
      apic: bytes[at + 6]!,
      pin: bytes[at + 7]!,
    });
    if (type === 0) parsed.processors.push({ id: bytes[at + 1]!, flags: bytes[at + 3]! });
    else if (type === 1) parsed.buses.set(bytes[at + 1]!, bytes.toString('latin1', at + 2, at + 8));
    else if (type === 2) {
      parsed.ioapics.push({ id: bytes[at + 1]!, flags: bytes[at + 3]!, address: bytes.readUInt32LE(at + 4) });
    } else if (type === 3) parsed.io.push(interrupt());
    else if (type === 4) parsed.local.push(interrupt());
    else throw new Error(`entry of type ${type}`);
    at += type === 0 ? 20 : 8;
  }
  if (at !== bytes.length) throw new Error('entries do not end with the table');
  return parsed;
}

const isaLines = (ioapic: number, bus: number) =>
  Array.from({ length: 16 }, (_, irq) => ({ kind: 0, flags: 0, bus, source: irq, apic: ioapic, pin: irq }));

for (const vcpuCount of [1, 2, 4, 32]) {
  test(`${vcpuCount} processors, one ISA bus, an IOAPIC after them, 16 ISA lines, LINT0 and LINT1`, (t) => {
    const parsed = parse(buildMpTable({ vcpuCount, extraGsis: [5, 6], pci: undefined }));
    t.deepEqual(
      parsed.processors,
      Array.from({ length: vcpuCount }, (_, id) => ({ id, flags: id === 0 ? 3 : 1 })),
    );
    t.deepEqual([...parsed.buses], [[0, 'ISA   ']]);
    t.deepEqual(parsed.ioapics, [{ id: vcpuCount, flags: 1, address: 0xfec0_0000 }]);
    t.deepEqual(parsed.io, isaLines(vcpuCount, 0));
    t.deepEqual(parsed.local, [
      { kind: 3, flags: 0, bus: 0, source: 0, apic: 0, pin: 0 },
      { kind: 1, flags: 0, bus: 0, source: 0, apic: 0xff, pin: 1 },
    ]);
  });
}

test('lines above the ISA bus are listed once, active high and edge-triggered', (t) => {
  const parsed = parse(buildMpTable({ vcpuCount: 2, extraGsis: [23, 5, 16, 16], pci: undefined }));
  t.deepEqual(parsed.io, [
    ...isaLines(2, 0),
    { kind: 0, flags: 5, bus: 0, source: 23, apic: 2, pin: 23 },
    { kind: 0, flags: 5, bus: 0, source: 16, apic: 2, pin: 16 },
  ]);
});

test('a PCI bus has number 0, its pins are named by device and pin', (t) => {
  const pci = [
    { slot: 1, pin: 0, gsi: 16 },
    { slot: 31, pin: 3, gsi: 19 },
  ];
  const parsed = parse(buildMpTable({ vcpuCount: 1, extraGsis: [], pci }));
  t.deepEqual(
    [...parsed.buses],
    [
      [0, 'PCI   '],
      [1, 'ISA   '],
    ],
  );
  t.deepEqual(parsed.io, [
    ...isaLines(1, 1),
    { kind: 0, flags: 0, bus: 0, source: 4, apic: 1, pin: 16 },
    { kind: 0, flags: 0, bus: 0, source: 127, apic: 1, pin: 19 },
  ]);
  t.is(parsed.local[0]!.bus, 1);
});

test('the floating pointer', (t) => {
  const pointer = Buffer.from(buildMpFloatingPointer(0x9_fc10));
  t.is(pointer.length, 16);
  t.is(sum(pointer), 0);
  t.is(pointer.toString('latin1', 0, 4), '_MP_');
  t.is(pointer.readUInt32LE(4), 0x9_fc10);
  t.is(pointer[8], 1, 'length, in paragraphs');
  t.is(pointer[9], 4, 'version 1.4');
  t.is(pointer[11], 0, 'a table is there, no default configuration');
  t.is(pointer[12], 0, 'virtual wire mode');
});
