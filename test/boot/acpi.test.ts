import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setImmediate as immediate } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { device, eisaId, integer, name, pkg, scope, string } from '../../lib/boot/acpi/aml.ts';
import { buildAcpiTables } from '../../lib/boot/acpi/tables.ts';
import type { MachineDevices } from '../../lib/boot/devices.ts';
import { scratch } from './support/images.ts';

const BASE = 0xe_0000;

const NOTHING: MachineDevices = { serial: false, i8042: false, pvpanic: false, rtc: false, virtioMmio: [] };
const virtioMmio = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ address: 0xd000_0000 + i * 0x1000, size: 0x1000, gsi: 5 + (i % 19) }));
const MICROVM: MachineDevices = { serial: true, i8042: true, pvpanic: true, rtc: true, virtioMmio: virtioMmio(3) };
const WITH_PCI: MachineDevices = {
  ...MICROVM,
  virtioMmio: [],
  pci: {
    interrupts: [
      { slot: 1, pin: 0, gsi: 16 },
      { slot: 2, pin: 1, gsi: 17 },
    ],
    hasIoPorts: true,
  },
};
const PCI_ECAM_ONLY: MachineDevices = { ...MICROVM, pci: { interrupts: [], hasIoPorts: false } };

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

interface Tables {
  readonly bytes: Buffer;
  /** Found by the pointers from the RSDP on, not by what the builder says. */
  readonly tables: Map<string, Buffer>;
}

/** Follows ACPI 6.5 §5.2.5.3, §5.2.8 and §5.2.9 as a guest does, and checks every sum and length. */
function follow(t: ExecutionContext, vcpuCount: number, devices: MachineDevices): Tables {
  const bytes = Buffer.from(buildAcpiTables(BASE, vcpuCount, devices).bytes);
  const tableAt = (address: bigint): Buffer => {
    const at = Number(address) - BASE;
    const table = bytes.subarray(at, at + bytes.readUInt32LE(at + 4));
    t.is(sum(table), 0);
    t.is(at % 4, 0);
    return table;
  };
  t.is(bytes.toString('latin1', 0, 8), 'RSD PTR ');
  t.is(sum(bytes.subarray(0, 20)), 0);
  t.is(sum(bytes.subarray(0, 36)), 0);
  t.is(bytes[15], 2);
  t.is(bytes.readUInt32LE(20), 36);
  const xsdt = tableAt(bytes.readBigUInt64LE(24));
  t.is(xsdt.toString('latin1', 0, 4), 'XSDT');
  const tables = new Map([['XSDT', xsdt]]);
  for (let at = 36; at < xsdt.length; at += 8) {
    const table = tableAt(xsdt.readBigUInt64LE(at));
    tables.set(table.toString('latin1', 0, 4), table);
  }
  const fadt = tables.get('FACP')!;
  t.is(BigInt(fadt.readUInt32LE(40)), fadt.readBigUInt64LE(140));
  tables.set('DSDT', tableAt(fadt.readBigUInt64LE(140)));
  return { bytes, tables };
}

/** What ACPICA's disassembler says of a table. Fails where it finds anything wrong with it. */
function disassemble(t: ExecutionContext, signature: string, table: Uint8Array): { path: string; text: string } {
  const path = scratch(t)(`${signature}.dat`, table);
  const output = execFileSync('iasl', ['-d', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  t.notRegex(output, /error|warning|invalid|incorrect/i);
  const dsl = join(dirname(path), `${signature}.dsl`);
  const text = readFileSync(dsl, 'utf8');
  t.notRegex(text, /\*\*\*\*|Unknown|Invalid|Error|Incorrect/);
  return { path: dsl, text };
}

/** Compiles what the disassembler made of it: no error, no warning, not even a remark, and the same bytes again. */
function recompile(t: ExecutionContext, dsl: string): Buffer {
  const output = execFileSync('iasl', ['-p', join(dirname(dsl), 'again'), dsl], { encoding: 'utf8' });
  t.regex(output, /0 Errors, 0 Warnings, 0 Remarks/);
  return readFileSync(join(dirname(dsl), 'again.aml'));
}

for (const [what, vcpuCount, devices] of [
  ['nothing', 1, NOTHING],
  ['a microVM', 2, MICROVM],
  ['a microVM without processor devices', 2, { ...MICROVM, acpiProcessors: false }],
  ['32 vCPUs and 40 devices', 32, { ...MICROVM, virtioMmio: virtioMmio(40) }],
  ['a PCI host bridge', 4, WITH_PCI],
  ['a PCI host bridge without ports', 1, PCI_ECAM_ONLY],
] as const) {
  test(`ACPICA takes every table, and compiles it to the same bytes: ${what}`, async (t) => {
    await immediate();
    const { tables } = follow(t, vcpuCount, devices);
    for (const [signature, table] of tables) {
      const again = recompile(t, disassemble(t, signature, table).path);
      // The compiler puts its own name into the header's last 8 bytes, so the check sum differs too.
      const plain = (bytes: Uint8Array) => Buffer.from(bytes).fill(0, 9, 10).fill(0, 28, 36);
      t.deepEqual(plain(again), plain(table), signature);
    }
  });
}

test('the DSDT says what is there', (t) => {
  const { text } = disassemble(t, 'DSDT', follow(t, 2, MICROVM).tables.get('DSDT')!);
  const squeezed = text
    .replaceAll(/\/\*.*?\*\//g, '')
    .replaceAll(/\/\/.*$/gm, '')
    .replaceAll(/\s+/g, ' ');
  t.regex(squeezed, /Name \(_S5, Package \(0x01\) \{ 0x05 \}\)/);
  t.regex(
    squeezed,
    /Device \(COM1\) \{ Name \(_HID, EisaId \("PNP0501"\) \).*?0x03F8, 0x03F8, 0x01, 0x08, \) IRQNoFlags \(\) \{4\}/,
  );
  t.regex(squeezed, /EisaId \("PNP0303"\).*?0x0060, 0x0060.*?0x0064, 0x0064.*?IRQNoFlags \(\) \{1\}/);
  t.regex(squeezed, /Name \(_HID, "QEMU0001"\).*?0x0505, 0x0505, 0x01, 0x01/);
  t.regex(
    squeezed,
    /Device \(V002\) \{ Name \(_HID, "LNRO0005"\) Name \(_UID, 0x02\).*?Memory32Fixed \(ReadWrite, 0xD0002000, 0x00001000, \) Interrupt \(ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, \) \{ 0x00000007, \}/,
  );
  t.regex(squeezed, /Device \(C001\) \{ Name \(_HID, "ACPI0007" \) Name \(_UID, One\)/);
  t.notRegex(squeezed, /C002|V003|PCI0|Method/);
});

test("a guest's interpreter, ACPICA's, loads the tables and evaluates what is in them", (t) => {
  const { tables } = follow(t, 2, WITH_PCI);
  const file = scratch(t);
  const paths = ['DSDT', 'FACP', 'APIC'].map((signature) => file(`${signature}.dat`, tables.get(signature)!));
  const run = (command: string) => {
    const output = execFileSync('acpiexec', ['-b', command, ...paths], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.regex(output, /1 ACPI AML tables successfully acquired and loaded/);
    t.notRegex(output, /ACPI (BIOS )?(Error|Warning)|Exception|mismatch/i);
    return output.replaceAll(/\s+/g, ' ');
  };
  t.regex(run('evaluate \\_S5'), /\[Package\] Contains 1 Elements: \[Integer\] = 0000000000000005/);
  t.regex(run('evaluate \\_SB.PCI0._PRT'), /\[Integer\] = 000000000002FFFF \[Integer\] = 0000000000000001/);
  // Every resource template is decoded, encoded again and compared.
  const resources = run('resources');
  t.regex(
    resources,
    /COM1.*?I\/O Resource.*?Address Minimum : 03F8.*?IRQ Resource.*?Triggering : Edge.*?Interrupt List : 4 /,
  );
  t.regex(resources, /PCI0.*?Bus Number Range.*?Address Minimum : 0CF8.*?Memory Range.*?C0000000/);
});

test('the DSDT has nothing but the sleep state for a machine with nothing', (t) => {
  const dsdt = follow(t, 1, { ...NOTHING, acpiProcessors: false }).tables.get('DSDT')!;
  t.is(dsdt.subarray(36).toString('hex'), `08${Buffer.from('_S5_').toString('hex')}1204010a0510055f53425f`);
});

test('a PCI host bridge: bus, ports, window, routes, and its configuration space claimed', (t) => {
  const { tables } = follow(t, 1, WITH_PCI);
  const { text } = disassemble(t, 'DSDT', tables.get('DSDT')!);
  const squeezed = text
    .replaceAll(/\/\*.*?\*\//g, '')
    .replaceAll(/\/\/.*$/gm, '')
    .replaceAll(/\s+/g, ' ');
  t.regex(squeezed, /EisaId \("PNP0A08"\).*?_CID, EisaId \("PNP0A03"\)/);
  t.regex(squeezed, /0x0CF8, 0x0CF8, 0x01, 0x08/);
  t.regex(squeezed, /DWordMemory .*?0xC0000000, 0xCFFFFFFF, 0x00000000, 0x10000000/);
  t.regex(
    squeezed,
    /Name \(_PRT, Package \(0x02\) \{ Package \(0x04\) \{ 0x0001FFFF, Zero, Zero, 0x10 \}, Package \(0x04\) \{ 0x0002FFFF, One, Zero, 0x11 \} \}\)/,
  );
  t.regex(squeezed, /EisaId \("PNP0C02"\).*?Memory32Fixed \(ReadWrite, 0xE0000000, 0x00100000/);
  const mcfg = tables.get('MCFG')!;
  t.is(mcfg.length, 60);
  t.is(mcfg.readBigUInt64LE(44), 0xe000_0000n);
  t.is(mcfg.readUInt16LE(52), 0, 'segment');
  t.is(mcfg[54], 0, 'first bus');
  t.is(mcfg[55], 0, 'last bus');
});

test('the FADT: hardware-reduced, power and reset by ports, what a PC has and lacks', (t) => {
  const { text } = disassemble(t, 'FACP', follow(t, 1, MICROVM).tables.get('FACP')!);
  const field = (label: string, from = 0) => {
    const line = text.slice(from).match(new RegExp(`^.*\\b${label} : (.*)$`, 'm'));
    return line?.[1];
  };
  const flag = (label: string) => text.match(new RegExp(`${label.replaceAll(/[()]/g, '\\$&')} : ([01])`))?.[1];
  const register = (label: string) => {
    const from = text.indexOf(label);
    return [
      field('Space ID', from),
      field('Bit Width', from),
      field('Encoded Access Width', from),
      field('Address', from),
    ];
  };
  t.is(flag('Hardware Reduced (V5)'), '1');
  t.is(flag('Reset Register Supported (V2)'), '1');
  t.is(flag('WBINVD instruction is operational (V1)'), '1');
  t.is(flag('Control Method Power Button (V1)'), '1');
  t.is(flag('Control Method Sleep Button (V1)'), '1');
  t.is(flag('8042 Present on ports 60/64 (V2)'), '1');
  t.is(flag('VGA Not Present (V4)'), '1');
  t.is(flag('CMOS RTC Not Present (V5)'), '0');
  t.is(flag('MSI Not Supported (V4)'), '0');
  t.is(field('RTC Century Index'), '32');
  t.deepEqual(register('Reset Register :'), ['01 [SystemIO]', '08', '01 [Byte Access:8]', '0000000000000602']);
  t.is(field('Value to cause reset'), '06');
  t.deepEqual(register('Sleep Control Register'), ['01 [SystemIO]', '08', '01 [Byte Access:8]', '0000000000000600']);
  t.deepEqual(register('Sleep Status Register'), ['01 [SystemIO]', '08', '01 [Byte Access:8]', '0000000000000601']);

  const bare = follow(t, 1, NOTHING).tables.get('FACP')!;
  t.is(bare.readUInt16LE(109), 0x24, 'no 8042, no devices, no VGA, no clock');
  t.is(bare[108], 0);
});

test('the MADT: each vCPU by its index, the IOAPIC after them, NMI at LINT1 of all', (t) => {
  for (const vcpuCount of [1, 4, 32]) {
    const madt = follow(t, vcpuCount, MICROVM).tables.get('APIC')!;
    t.is(madt.readUInt32LE(36), 0xfee0_0000);
    t.is(madt.readUInt32LE(40), 1, 'there are two 8259s');
    let at = 44;
    for (let id = 0; id < vcpuCount; id++, at += 8) {
      t.deepEqual([...madt.subarray(at, at + 8)], [0, 8, id, id, 1, 0, 0, 0]);
    }
    t.deepEqual([...madt.subarray(at, at + 12)], [1, 12, vcpuCount, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    at += 12;
    t.deepEqual([...madt.subarray(at)], [4, 6, 0xff, 0, 0, 1]);
  }
});

test('AML: names are filled up, integers and packages as short as can be, lengths of every size', (t) => {
  t.deepEqual(integer(0), [0]);
  t.deepEqual(integer(1), [1]);
  t.deepEqual(integer(2), [0x0a, 2]);
  t.deepEqual(integer(255), [0x0a, 255]);
  t.deepEqual(integer(256), [0x0b, 0, 1]);
  t.deepEqual(integer(0x1_0000), [0x0c, 0, 0, 1, 0]);
  t.deepEqual(integer(0xffff_ffff), [0x0c, 255, 255, 255, 255]);
  t.deepEqual(eisaId('PNP0501'), [0x0c, 0x41, 0xd0, 0x05, 0x01]);
  t.deepEqual(string('AB'), [0x0d, 0x41, 0x42, 0]);
  t.deepEqual(name('X', integer(1)), [0x08, 0x58, 0x5f, 0x5f, 0x5f, 1]);
  t.throws(() => name('TOOLONG', integer(1)), { instanceOf: RangeError });
  t.deepEqual(device('DEV0').slice(0, 3), [0x5b, 0x82, 5]);
  // §20.2.4: up to 63 bytes in one byte, then four bits there and eight in each that follows.
  const fill = (size: number) => Array.from({ length: size }, () => 0);
  t.deepEqual(scope('S', fill(58)).slice(0, 2), [0x10, 63]);
  t.deepEqual(scope('S', fill(59)).slice(0, 3), [0x10, 0x41, 0x04]);
  t.deepEqual(scope('S', fill(4089)).slice(0, 3), [0x10, 0x4f, 0xff]);
  t.deepEqual(scope('S', fill(4090)).slice(0, 4), [0x10, 0x81, 0x00, 0x01]);
  t.deepEqual(pkg(integer(5)), [0x12, 4, 1, 0x0a, 5]);
});
