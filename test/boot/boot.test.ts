import { setImmediate as immediate } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { type GuestImage, type LoadedGuest, loadGuest } from '../../lib/boot/boot.ts';
import type { MachineDevices } from '../../lib/boot/devices.ts';
import { ConfigError } from '../../lib/errors.ts';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';
import { linuxNote, makeBzImage, makeElf, pattern, pvhNote, scratch, withSize } from './support/images.ts';
import { KERNEL_COMPRESSORS, pipe } from './support/tools.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

const DEVICES: MachineDevices = {
  serial: true,
  i8042: true,
  pvpanic: true,
  rtc: true,
  virtioMmio: [
    { address: 0xd000_0000, size: 4096, gsi: 5 },
    { address: 0xd000_1000, size: 4096, gsi: 16 },
  ],
};

/** A vmlinux as Linux's is: text, data with bss, per-CPU data at virtual 0 in between, linked at 16 MiB. */
const SEGMENTS = [
  { address: 0x100_0000, data: pattern(300_000, 1) },
  { address: 0x120_0000, data: pattern(100_000, 2) },
  { address: 0x123_0000, data: pattern(20_000, 3) },
  { address: 0x124_0000, data: pattern(200_000, 4), memorySize: 400_000 },
];
const VMLINUX = makeElf({ entry: 0x100_0040, segments: SEGMENTS, notes: [linuxNote, pvhNote(0x100_0080)] });
/** The build puts the relocations behind it. */
const PAYLOAD = Buffer.concat([VMLINUX, pattern(40_000, 9)]);
const GZIPPED = pipe('gzip', ['-n', '-9'], PAYLOAD);
const TINY = makeElf({
  entry: 0x2_0000,
  segments: [{ address: 0x2_0000, data: Uint8Array.of(0xf4) }],
  notes: [pvhNote(0x2_0000)],
});

type Options = Partial<Omit<GuestImage, 'kernel' | 'initrd'>> & { readonly initrd?: Uint8Array };

interface Loaded extends LoadedGuest {
  readonly memory: GuestMemory;
}

async function load(t: ExecutionContext, kernel: Uint8Array, options: Options = {}): Promise<Loaded> {
  const file = scratch(t);
  const memory = options.memory ?? GuestMemory.plain(64 * MIB);
  const guest = await loadGuest({
    bootArgs: 'console=ttyS0',
    vcpuCount: 2,
    devices: DEVICES,
    acpi: true,
    ...options,
    memory,
    kernel: { path: file('kernel', kernel) },
    initrd: options.initrd === undefined ? undefined : { path: file('initrd', options.initrd) },
  });
  for (const [i, { end }] of guest.placed.entries()) {
    const next = guest.placed[i + 1];
    if (next !== undefined && end > next.start) t.fail('something overlaps');
  }
  return { ...guest, memory };
}

function checkSegments(t: ExecutionContext, memory: GuestMemory): void {
  for (const { address, data, memorySize } of SEGMENTS) {
    t.deepEqual(memory.read(address, data.length), new Uint8Array(data));
    const rest = (memorySize ?? data.length) - data.length;
    t.true(memory.read(address + data.length, rest).every((byte) => byte === 0));
  }
}

/** The guest's own view of the zero page: what RSI points to. */
function zeroPage(guest: Loaded): Buffer {
  return Buffer.from(guest.memory.read(guest.cpu.rsi, 4096));
}

function cString(memory: GuestMemory, address: number): string {
  const bytes = Buffer.from(memory.read(address, 4096));
  return bytes.toString('latin1', 0, bytes.indexOf(0));
}

test('a vmlinux starts by the 64-bit protocol: everything that RSI leads to is there', async (t) => {
  const initrd = pattern(123_456, 7);
  const guest = await load(t, VMLINUX, { initrd, bootArgs: 'console=ttyS0 -- x' });
  const { memory, cpu } = guest;
  t.is(guest.protocol, 'linux64');
  t.is(cpu.rip, 0x100_0040);
  t.is(cpu.cs.l, 1);
  checkSegments(t, memory);
  const page = zeroPage(guest);
  t.is(page.toString('latin1', 0x202, 0x206), 'HdrS');
  t.is(cString(memory, page.readUInt32LE(0x228)), 'console=ttyS0 -- x');
  t.is(guest.cmdline, 'console=ttyS0 -- x');
  const initrdAt = page.readUInt32LE(0x218);
  t.is(page.readUInt32LE(0x21c), initrd.length);
  t.is(initrdAt, 64 * MIB - 31 * 4096, 'as high as whole pages let it');
  t.deepEqual(memory.read(initrdAt, initrd.length), new Uint8Array(initrd));
  t.is(page.readUInt32LE(0x070), 0xe_0000);
  t.is(cString(memory, 0xe_0000).slice(0, 8), 'RSD PTR ');
  t.is(page.readUInt8(0x1e8), 4);
  // What the page tables map first is what they lie in.
  const pml4 = memory.view.getUint32(memory.offsetOf(cpu.cr3, 8), true);
  t.is(pml4 & 3, 3);
});

test('the MP table is found where its specification looks for it, with ACPI and without', async (t) => {
  for (const acpi of [true, false]) {
    const { memory } = await load(t, VMLINUX, { acpi, vcpuCount: 4 });
    const { view } = memory;
    t.is(view.getUint16(0x40e, true) * 16, 0x9_fc00);
    t.is(view.getUint16(0x413, true), 639);
    t.is(cString(memory, 0x9_fc00).slice(0, 4), '_MP_');
    const table = view.getUint32(0x9_fc04, true);
    t.is(Buffer.from(memory.read(table, 4)).toString(), 'PCMP');
    t.is(table, 0x9_fc10);
    const length = view.getUint16(table + 4, true);
    t.is(
      memory.read(table, length).reduce((sum, byte) => (sum + byte) & 0xff, 0),
      0,
    );
    t.true(table + length <= 0xa_0000);
  }
});

test('an MP table that is too large for the extended BIOS data area moves, and the pointer with it', async (t) => {
  const interrupts = Array.from({ length: 128 }, (_, i) => ({ slot: i >> 2, pin: i & 3, gsi: 16 + (i & 7) }));
  const { memory } = await load(t, VMLINUX, {
    vcpuCount: 32,
    devices: { ...DEVICES, pci: { interrupts, hasIoPorts: true } },
  });
  const table = memory.view.getUint32(0x9_fc04, true);
  t.is(table, 0xf_0000);
  t.is(Buffer.from(memory.read(table, 4)).toString(), 'PCMP');
});

test('without ACPI the command line names the virtio-mmio devices, and no RSDP is announced', async (t) => {
  for (const options of [{ acpi: false }, { acpi: true, bootArgs: 'console=ttyS0 acpi=off' }]) {
    const guest = await load(t, VMLINUX, options);
    t.is(
      guest.cmdline,
      `${options.bootArgs ?? 'console=ttyS0'} virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:16`,
    );
    t.is(zeroPage(guest).readUInt32LE(0x070), 0);
    t.true(guest.memory.read(0xe_0000, 0x1_0000).every((byte) => byte === 0));
  }
});

test('with ACPI too, the command line names the devices for a kernel that finds them in no other way', async (t) => {
  const parameters = ' virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:16';
  const withStrings = (...strings: string[]) => {
    const data = Buffer.alloc(20_000, '.');
    data.write(`\0${strings.join('\0')}\0`, 5000);
    return makeElf({
      entry: 0x100_0000,
      segments: [{ address: 0x100_0000, data }],
      notes: [linuxNote],
      sections: [
        { name: '.text', segment: 0, offset: 0, size: 4096 },
        { name: '.rodata', segment: 0, offset: 4096, size: 8000 },
        { name: '.x.rodata', segment: 0, offset: 0, size: 20_000 },
      ],
    });
  };
  const cmdlineOnly = withStrings('virtio_mmio.device');
  const both = withStrings('virtio_mmio.device', 'LNRO0005');
  const acpiOnly = withStrings('LNRO0005');
  const bz = (elf: Buffer, program: string, args: string[]) => {
    const packed = pipe(program, args, elf);
    return makeBzImage({ payload: program === 'gzip' ? packed : withSize(packed, elf.length) });
  };
  t.is((await load(t, cmdlineOnly)).cmdline, `console=ttyS0${parameters}`);
  t.is((await load(t, bz(cmdlineOnly, 'gzip', ['-n']))).cmdline, `console=ttyS0${parameters}`);
  t.is((await load(t, bz(cmdlineOnly, 'lz4', ['-l', '-', '-']))).cmdline, `console=ttyS0${parameters}`);
  for (const kernel of [both, acpiOnly, VMLINUX, bz(both, 'gzip', ['-n'])]) {
    t.is((await load(t, kernel)).cmdline, 'console=ttyS0');
  }
  t.is((await load(t, cmdlineOnly, { devices: { ...DEVICES, virtioMmio: [] } })).cmdline, 'console=ttyS0');
  // A bare-metal guest has no interpreter of AML.
  t.is((await load(t, TINY)).cmdline, `console=ttyS0${parameters}`);
  // Parameters count for the limit.
  await t.throwsAsync(load(t, cmdlineOnly, { bootArgs: 'x'.repeat(2000) }), {
    message: /2071 characters with what mvm adds/,
  });
});

test('PVH when asked for, and for what is not Linux', async (t) => {
  const initrd = pattern(1000, 7);
  const asked = await load(t, VMLINUX, { protocol: 'pvh', initrd });
  t.is(asked.protocol, 'pvh');
  t.is(asked.cpu.rip, 0x100_0080);
  t.is(asked.cpu.cs.l, 0);
  const info = asked.cpu.rbx;
  const { view } = asked.memory;
  t.is(view.getUint32(info, true), 0x336ec578);
  t.is(cString(asked.memory, view.getUint32(info + 24, true)), 'console=ttyS0');
  t.is(view.getUint32(info + 32, true), 0xe_0000);
  const module = view.getUint32(info + 16, true);
  t.deepEqual(asked.memory.read(view.getUint32(module, true), 1000), new Uint8Array(initrd));
  t.is(view.getUint32(info + 48, true), 4);

  for (const is64Bit of [true, false]) {
    const elf = makeElf({
      is64Bit,
      segments: [{ address: 0x10_0000, data: pattern(64, 1) }],
      notes: [pvhNote(0x10_0010)],
    });
    const guest = await load(t, elf);
    t.is(guest.protocol, 'pvh');
    t.is(guest.cpu.rip, 0x10_0010);
  }
  const plain = makeElf({ entry: 0x10_0004, segments: [{ address: 0x10_0000, data: pattern(64, 1) }] });
  t.is((await load(t, plain)).protocol, 'linux64');
  t.is((await load(t, TINY, { protocol: 'linux64' })).protocol, 'linux64');
});

test('1 MiB is enough for a bare-metal guest, wherever it lies', async (t) => {
  for (const address of [0, 0x1000, 0x7000, 0x2_0000, 0x9_0000]) {
    const elf = makeElf({ segments: [{ address, data: pattern(3000, 5) }], notes: [pvhNote(address)] });
    for (const protocol of ['pvh', 'linux64'] as const) {
      const guest = await load(t, elf, { memory: GuestMemory.plain(MIB), protocol });
      t.deepEqual(guest.memory.read(address, 3000), new Uint8Array(pattern(3000, 5)));
      t.is(guest.protocol, protocol);
    }
  }
});

test('5 GiB and 16 GiB: the initrd stays where its field reaches, the memory map has all', async (t) => {
  for (const size of [5, 16]) {
    const guest = await load(t, VMLINUX, { memory: GuestMemory.plain(size * GIB), initrd: pattern(5000, 7) });
    const page = zeroPage(guest);
    t.is(page.readUInt32LE(0x218), 0x8000_0000 - 8192);
    t.is(page.readUInt32LE(0x0c0), 0);
    const last = 0x2d0 + (page.readUInt8(0x1e8) - 1) * 20;
    t.is(page.readBigUInt64LE(last), BigInt(4 * GIB));
    t.is(page.readBigUInt64LE(last + 8), BigInt((size - 3) * GIB));
  }
});

test('an initrd that finds no room below its limit goes above, where the kernel takes that', async (t) => {
  const initrd = pattern(100_000, 7);
  const image = (xloadflags: number) =>
    makeBzImage({ payload: GZIPPED, initrdAddressMax: 0x127_ffff, xloadflags, initSize: 0x28_0000 });
  // Below the limit there is RAM, but the kernel and the first MiB leave 15 MiB of it: take that away.
  const large = pattern(16 * MIB, 7);
  const guest = await load(t, image(0x3), { initrd: large });
  t.is(zeroPage(guest).readUInt32LE(0x218), 64 * MIB - 16 * MIB);
  await t.throwsAsync(load(t, image(0x1), { initrd: large }), { message: /does not fit/ });
  const small = await load(t, image(0x1), { initrd });
  t.true(zeroPage(small).readUInt32LE(0x218) + initrd.length - 1 <= 0x127_ffff);
});

for (const { config, program, args, appendsSize } of KERNEL_COMPRESSORS) {
  test(`the kernel inside a bzImage is unpacked here: ${config}`, async (t) => {
    await immediate();
    const packed = pipe(program, args, PAYLOAD);
    const payload = appendsSize ? withSize(packed, PAYLOAD.length) : packed;
    const guest = await load(t, makeBzImage({ payload, cmdlineSize: 255 }));
    t.is(guest.protocol, 'linux64');
    t.is(guest.cpu.rip, 0x100_0040, "the ELF's entry point");
    checkSegments(t, guest.memory);
    const page = zeroPage(guest);
    t.is(page.readUInt16LE(0x206), 0x20f, "the image's own header");
    t.is(page.readUInt32LE(0x238), 255);
    t.is(page.readUInt32LE(0x214), 0);
    // Unpacking leaves nothing behind, neither between the segments nor after them.
    for (const [start, end] of [
      [0x100_0000 + 300_000, 0x120_0000],
      [0x120_0000 + 100_000, 0x123_0000],
      [0x124_0000 + 400_000, 0x200_0000],
    ] as const) {
      t.true(guest.memory.read(start, end - start).every((byte) => byte === 0));
    }
  });
}

test('a bzImage starts by PVH too when asked', async (t) => {
  const guest = await load(t, makeBzImage({ payload: GZIPPED }), { protocol: 'pvh' });
  t.is(guest.cpu.rip, 0x100_0080);
});

test('a kernel whose segments would have to move up is unpacked elsewhere first', async (t) => {
  // Linked 2 MiB above the place that the header prefers, and not in the order of the file.
  const segments = [
    { address: 0x130_0000, data: pattern(50_000, 2) },
    { address: 0x120_0000, data: pattern(70_000, 1) },
  ];
  const elf = makeElf({ entry: 0x120_0000, segments });
  const payload = withSize(pipe('lz4', ['-l', '-9', '-', '-'], elf), elf.length);
  const { memory } = await load(t, makeBzImage({ payload }));
  for (const { address, data } of segments) t.deepEqual(memory.read(address, data.length), new Uint8Array(data));
  t.true(memory.read(0x100_0000, 0x20_0000).every((byte) => byte === 0));
});

test('a bzImage with a compression that is not known here starts itself at its 64-bit entry point', async (t) => {
  for (const packed of [pipe('bzip2', ['-9'], PAYLOAD), Buffer.from('something else, longer than its size field')]) {
    const image = makeBzImage({ payload: withSize(packed, PAYLOAD.length) });
    const guest = await load(t, image);
    t.is(guest.protocol, 'linux64');
    t.is(guest.cpu.rip, 0x100_0200);
    const kernel = image.subarray(28 * 512);
    t.deepEqual(guest.memory.read(0x100_0000, kernel.length), new Uint8Array(kernel));
    t.is(zeroPage(guest).readUInt32LE(0x214), 0x100_0000);
    t.true(
      guest.placed.some(({ start, end }) => start === 0x100_0000 && end === 0x180_0000),
      'init_size is kept free',
    );
    await t.throwsAsync(load(t, image, { protocol: 'pvh' }), { message: /cannot be unpacked here/ });
  }
});

test('what was in memory before does not show in the kernel or its registers', async (t) => {
  const dirty = GuestMemory.plain(64 * MIB);
  const clean = await load(t, makeBzImage({ payload: GZIPPED }), { initrd: pattern(5000, 1) });
  for (let at = 0x100_0000; at < 0x180_0000; at += 4096) dirty.bytes[at] = 0xff;
  const again = await load(t, VMLINUX, { memory: dirty, initrd: pattern(5000, 1) });
  checkSegments(t, again.memory);
  t.deepEqual(again.cpu, clean.cpu);
});

test('the errors of a guest that is too small, or a line too long', async (t) => {
  const error = async (kernel: Uint8Array, options: Options) => {
    const thrown = await t.throwsAsync(load(t, kernel, options), { instanceOf: ConfigError });
    t.notRegex(thrown.toLine(), /\n/);
    return thrown;
  };
  const small = GuestMemory.plain(16 * MIB);
  t.is(
    (await error(VMLINUX, { memory: small })).message,
    'the kernel needs guest memory up to 0x10493e0, and there is none above 0x1000000',
  );
  t.is((await error(VMLINUX, { memory: small })).hint, 'give the guest at least 17 MiB');
  t.regex(
    (await error(makeBzImage({ payload: GZIPPED }), { memory: GuestMemory.plain(20 * MIB) })).message,
    /up to 0x1800000/,
  );
  const initrd = new Uint8Array(63 * MIB);
  t.regex(
    (await error(VMLINUX, { initrd })).message,
    /^the initrd \(63 MiB\) does not fit into the guest's memory \(64 MiB\)/,
  );
  t.regex(
    (await error(VMLINUX, { bootArgs: 'x'.repeat(2048) })).message,
    /2048 characters with what mvm adds, and the kernel takes 2047/,
  );
  t.regex((await error(VMLINUX, { acpi: false, bootArgs: 'x'.repeat(2000) })).message, /too long/);
  const image = makeBzImage({ payload: GZIPPED, cmdlineSize: 100 });
  t.regex(
    (await error(image, { bootArgs: 'x'.repeat(101) })).message,
    /101 characters with what mvm adds, and the kernel takes 100/,
  );
  t.regex((await error(TINY, { memory: GuestMemory.plain(65536) })).message, /less than 1 MiB/);
  const full = makeElf({
    segments: [{ address: 0x1000, data: new Uint8Array(16), memorySize: 0x9_ec00 }],
    notes: [pvhNote(0x1000)],
  });
  t.regex((await error(full, { memory: GuestMemory.plain(MIB) })).message, /no room for the GDT and stack/);
  const many = Array.from({ length: 1500 }, (_, i) => ({ address: 0xd000_0000 + i * 4096, size: 4096, gsi: 5 }));
  t.regex(
    (await error(VMLINUX, { devices: { ...DEVICES, virtioMmio: many } })).message,
    /too many devices for the ACPI tables/,
  );
});
