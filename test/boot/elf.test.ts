import test from 'ava';
import fc from 'fast-check';
import { canLoadInPlace, checkEntry, loadElf, parseElf, reserveElf } from '../../lib/boot/elf.ts';
import { findSection } from '../../lib/boot/elf-section.ts';
import { BytesSource, FileSource } from '../../lib/boot/image-source.ts';
import { Placement } from '../../lib/boot/placement.ts';
import { ConfigError } from '../../lib/errors.ts';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';
import { linuxNote, makeElf, pattern, pvhNote, scratch } from './support/images.ts';
import { pipe } from './support/tools.ts';

const MIB = 2 ** 20;
const source = (bytes: Uint8Array) => new BytesSource('vmlinux', bytes);

test('segments go to their physical addresses, and what the file lacks of them is zero', (t) => {
  for (const is64Bit of [true, false]) {
    const text = pattern(10_000, 1);
    const data = pattern(5000, 2);
    const elf = makeElf({
      is64Bit,
      entry: 0x10_0010,
      segments: [
        { address: 0x10_0000, data: text },
        { address: 0x20_0000, data, memorySize: 20_000 },
        { address: 0x30_0000, data: new Uint8Array(), memorySize: 4096 },
      ],
    });
    const memory = GuestMemory.plain(4 * MIB);
    memory.bytes.fill(0xff);
    const image = parseElf(source(elf));
    t.is(image.is64Bit, is64Bit);
    t.is(image.entry, 0x10_0010);
    const placement = new Placement(memory);
    reserveElf(image, placement, 'vmlinux');
    loadElf(source(elf), image, memory);
    t.deepEqual(memory.read(0x10_0000, 10_000), new Uint8Array(text));
    t.is(memory.read(0x10_0000 + 10_000, 1)[0], 0xff);
    t.deepEqual(memory.read(0x20_0000, 5000), new Uint8Array(data));
    t.true(memory.read(0x20_0000 + 5000, 15_000).every((byte) => byte === 0));
    t.is(memory.read(0x20_0000 + 20_000, 1)[0], 0xff);
    t.true(memory.read(0x30_0000, 4096).every((byte) => byte === 0));
    t.is(memory.read(0x0f_ffff, 1)[0], 0xff);
    t.deepEqual(
      placement.placed.map(({ start, end }) => [start, end]),
      [
        [0x10_0000, 0x10_0000 + 10_000],
        [0x20_0000, 0x20_0000 + 20_000],
        [0x30_0000, 0x30_1000],
      ],
    );
  }
});

test('a file is read straight to its place, also above 4 GiB', (t) => {
  const file = scratch(t);
  const high = 0x1_0000_0000 + 3 * MIB;
  const data = pattern(100_000, 3);
  const elf = makeElf({
    segments: [
      { address: 0x10_0000, data: Uint8Array.of(0xf4) },
      { address: high, data },
    ],
  });
  const memory = GuestMemory.plain(3 * 2 ** 30 + 8 * MIB);
  using kernel = new FileSource(file('vmlinux', elf), 'kernel');
  const image = parseElf(kernel);
  reserveElf(image, new Placement(memory), 'vmlinux');
  loadElf(kernel, image, memory);
  t.deepEqual(memory.read(high, data.length), new Uint8Array(data));
});

test('notes: PVH entry of 4 and of 8 bytes, padding to 4 and to 8, Linux among others', (t) => {
  const segments = [{ address: 0x10_0000, data: pattern(64, 1) }];
  const build = { name: 'GNU', type: 3, description: Buffer.from('0123456789abcdef0123') };
  for (const noteAlignment of [4, 8]) {
    for (const size of [4, 8] as const) {
      const notes = [
        build,
        linuxNote,
        { name: 'Xen', type: 6, description: Buffer.from('linux\0') },
        pvhNote(0x10_0020, size),
      ];
      const image = parseElf(source(makeElf({ segments, notes, noteAlignment })));
      t.is(image.pvhEntry, 0x10_0020);
      t.true(image.isLinux);
    }
  }
  const without = parseElf(source(makeElf({ segments, notes: [build] })));
  t.is(without.pvhEntry, undefined);
  t.false(without.isLinux);
});

test('notes that are cut off or lie about their size end the search', (t) => {
  const segments = [{ address: 0x10_0000, data: pattern(64, 1) }];
  const elf = makeElf({ segments, notes: [linuxNote, pvhNote(0x10_0020)] });
  const noteAt = elf.lastIndexOf('Xen') - 12;
  for (const [offset, value] of [
    [0, 0xffff_ffff],
    [4, 0xffff_ffff],
    [0, 0x7fff_fff0],
    [4, 5000],
  ] as const) {
    const damaged = Buffer.from(elf);
    damaged.writeUInt32LE(value, noteAt + offset);
    const image = parseElf(source(damaged));
    t.is(image.pvhEntry, undefined);
    t.true(image.isLinux);
  }
});

test('what the linker makes: an ELF of 64 and one of 32 bits, with a PVH note', (t) => {
  const file = scratch(t);
  const assembly = `
.globl _start
_start: hlt
.data
.long 0x12345678
.bss
.skip 8192
.section .note.pvh,"a",@note
.long 4, 4, 18
.asciz "Xen"
.long _start
`;
  const script = file(
    'guest.ld',
    `ENTRY(_start)
PHDRS { load PT_LOAD FLAGS(5); data PT_LOAD FLAGS(6); note PT_NOTE FLAGS(4); }
SECTIONS {
  . = 0x20000; .text : { *(.text) } :load
  .note.pvh : { *(.note.pvh) } :load :note
  . = 0x30000; .data : { *(.data) } :data
  .bss : { *(.bss) } :data
  /DISCARD/ : { *(*) }
}`,
  );
  for (const [bits, emulation] of [
    ['--64', 'elf_x86_64'],
    ['--32', 'elf_i386'],
  ] as const) {
    const object = file('guest.o', '');
    const program = file('guest', '');
    pipe('as', [bits, '-o', object, '-'], Buffer.from(assembly));
    pipe('ld', ['-m', emulation, '-T', script, '-o', program, object], Buffer.alloc(0));
    const memory = GuestMemory.plain(MIB);
    memory.bytes.fill(0xff);
    using kernel = new FileSource(program, 'kernel');
    const image = parseElf(kernel);
    t.is(image.pvhEntry, 0x20000);
    t.is(image.entry, 0x20000);
    loadElf(kernel, image, memory);
    t.is(memory.read(0x20000, 1)[0], 0xf4);
    t.is(memory.view.getUint32(memory.offsetOf(0x30000, 4), true), 0x12345678);
    const bss = memory.read(0x30004, 9000);
    t.true(bss.subarray(12, 8192).every((byte) => byte === 0));
    t.is(bss[8999], 0xff);
  }
});

test('an entry point must lie in what was loaded', (t) => {
  const image = parseElf(
    source(makeElf({ segments: [{ address: 0x10_0000, data: pattern(64, 1), memorySize: 100 }] })),
  );
  t.notThrows(() => checkEntry(image, 0x10_0000, 'entry point', 'vmlinux'));
  t.notThrows(() => checkEntry(image, 0x10_0063, 'entry point', 'vmlinux'));
  for (const entry of [0x0f_ffff, 0x10_0064, 0, 2 ** 53, 0xffff_ffff_8100_0000]) {
    t.throws(() => checkEntry(image, entry, 'entry point', 'vmlinux'), {
      instanceOf: ConfigError,
      message: `the entry point 0x${entry.toString(16)} lies in no loaded segment`,
    });
  }
});

test('loading in place moves segments down, as memmove would', (t) => {
  const segments = [
    { address: 0x10_0000, data: pattern(20_000, 1) },
    { address: 0x10_6000, data: pattern(9000, 2), memorySize: 30_000 },
    { address: 0x11_0000, data: pattern(70_000, 3) },
  ];
  const elf = makeElf({ segments });
  const memory = GuestMemory.plain(4 * MIB);
  const at = 0x10_f000;
  memory.write(at, elf);
  const bytes = memory.bytes.subarray(memory.offsetOf(at, elf.length), memory.offsetOf(at, elf.length) + elf.length);
  const image = parseElf(source(bytes));
  t.true(canLoadInPlace(image, at));
  loadElf(source(bytes), image, memory);
  for (const { address, data } of segments) t.deepEqual(memory.read(address, data.length), new Uint8Array(data));
  t.true(memory.read(0x10_6000 + 9000, 21_000).every((byte) => byte === 0));
});

test('what would have to move up, or lies twice in the file, cannot be loaded in place', (t) => {
  const elf = makeElf({ segments: [{ address: 0x10_0000, data: pattern(64, 1) }] });
  const image = parseElf(source(elf));
  t.true(canLoadInPlace(image, 0x10_0000 - 0x1000));
  t.false(canLoadInPlace(image, 0x10_0000 - 0x1001));
  const [segment] = image.segments;
  t.false(canLoadInPlace({ ...image, segments: [segment!, { ...segment!, physicalAddress: 0x20 }] }, 0x10_0000));
});

test('a section is found by its whole name, and where it is loaded', (t) => {
  const elf = makeElf({
    segments: [
      { address: 0x10_0000, data: pattern(9000, 1) },
      { address: 0x20_0000, data: pattern(9000, 2) },
    ],
    sections: [
      { name: '.rodata.str', segment: 0, offset: 0, size: 10 },
      { name: '.x.rodata', segment: 0, offset: 0, size: 10 },
      { name: '.rodata', segment: 1, offset: 1000, size: 500 },
      { name: '.outside', segment: 1, offset: 1000, size: 9000 },
    ],
  });
  const image = parseElf(source(elf));
  t.deepEqual(findSection(source(elf), image, '.rodata'), { physicalAddress: 0x20_0000 + 1000, size: 500 });
  t.is(findSection(source(elf), image, 'rodata'), undefined);
  t.is(findSection(source(elf), image, '.data'), undefined);
  t.is(findSection(source(elf), image, '.outside'), undefined);
  const plain = makeElf({ segments: [{ address: 0x10_0000, data: pattern(9000, 1) }] });
  t.is(findSection(source(plain), parseElf(source(plain)), '.rodata'), undefined);
});

test('hostile section headers give an answer inside the kernel, or none', (t) => {
  const good = makeElf({
    segments: [{ address: 0x10_0000, data: pattern(5000, 1) }],
    sections: [{ name: '.rodata', segment: 0, offset: 100, size: 500 }],
  });
  const tableAt = Number(good.readBigUInt64LE(40));
  const property = fc.property(
    fc.array(
      fc.tuple(
        fc.oneof(fc.integer({ min: 40, max: 63 }), fc.integer({ min: tableAt - 20, max: good.length - 1 })),
        fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
      ),
      { minLength: 1, maxLength: 5 },
    ),
    (changes) => {
      const elf = Buffer.from(good);
      for (const [at, value] of changes) elf[at] = value;
      let image: ReturnType<typeof parseElf>;
      try {
        image = parseElf(source(elf));
      } catch (error) {
        return error instanceof ConfigError;
      }
      const section = findSection(source(elf), image, '.rodata');
      if (section === undefined) return true;
      const { physicalAddress, size } = section;
      return physicalAddress >= 0x10_0000 && physicalAddress + size <= 0x10_0000 + 5000;
    },
  );
  t.notThrows(() => fc.assert(property, { numRuns: 2000 }));
});

/** The header's fields that a message is about, each made wrong in a way of its own. */
const WRONG: readonly [what: string, change: (elf: Buffer) => Buffer, message: RegExp][] = [
  ['cut in the header', (elf) => elf.subarray(0, 40), /cut off in its header/],
  ['cut in a 64-bit header', (elf) => elf.subarray(0, 60), /cut off in its header/],
  ['big-endian', (elf) => set(elf, 5, 2), /not little-endian/],
  ['class 0', (elf) => set(elf, 4, 0), /not little-endian of 32 or 64 bits/],
  ['arm64', (elf) => set(elf, 18, 183), /is for arm64, not for x86/],
  ['another machine', (elf) => set(elf, 18, 8), /is for machine 8, not for x86/],
  ['an object file', (elf) => set(elf, 16, 1), /not an executable/],
  ['a core', (elf) => set(elf, 16, 4), /not an executable/],
  ['no program headers', (elf) => set(elf, 56, 0), /no program headers/],
  ['too many program headers', (elf) => set(elf, 57, 0xff), /odd program headers/],
  ['program headers of another size', (elf) => set(elf, 54, 55), /odd program headers/],
  ['program headers outside', (elf) => set(elf, 34, 0xff), /cut off in its program headers/],
  ['program headers far outside', (elf) => set(elf, 39, 0xff), /cut off in its program headers/],
  ['cut in a segment', (elf) => elf.subarray(0, 4096 + 50), /cut off: a segment ends at byte 4160 of 4146/],
  ['a segment far outside', (elf) => set(elf, 64 + 15, 0x40), /cut off: a segment ends/],
  ['a segment smaller in memory', (elf) => set(elf, 64 + 40, 0), /larger in the file than in memory/],
  ['nothing to load', (elf) => set(elf, 64, 6), /nothing to load/],
];

function set(elf: Buffer, at: number, value: number): Buffer {
  elf[at] = value;
  return elf;
}

for (const [what, change, message] of WRONG) {
  test(`refuses an ELF file: ${what}`, (t) => {
    const elf = makeElf({ segments: [{ address: 0x10_0000, data: pattern(64, 1) }] });
    const error = t.throws(() => parseElf(source(change(elf))), { instanceOf: ConfigError, message });
    t.is(error.where, 'vmlinux');
    t.notRegex(error.toLine(), /\n/);
  });
}

test('segments outside RAM, across the hole, in the BIOS area, or over each other are refused by name', (t) => {
  const memory = GuestMemory.plain(3 * 2 ** 30 + 16 * MIB);
  const reserve = (...segments: { address: number; memorySize: number }[]) => {
    const image = parseElf(
      source(makeElf({ segments: segments.map((segment) => ({ ...segment, data: pattern(16, 1) })) })),
    );
    reserveElf(image, new Placement(memory), 'vmlinux');
  };
  t.notThrows(() => reserve({ address: 0x1_0000_0000, memorySize: 16 * MIB }));
  t.notThrows(() => reserve({ address: 0x1000, memorySize: 0x9_ec00 }));
  t.throws(() => reserve({ address: 0x1_0000_0000, memorySize: 17 * MIB }), {
    message: /needs guest memory up to 0x101100000, and there is none above 0x101000000/,
  });
  t.throws(() => reserve({ address: 0xbfff_f000, memorySize: 8192 }), { message: /which is not all RAM/ });
  t.throws(() => reserve({ address: 0xd000_0000, memorySize: 8192 }), { message: /which is not all RAM/ });
  t.throws(() => reserve({ address: 0x9_f000, memorySize: 4096 }), { message: /which is not all RAM/ });
  t.throws(() => reserve({ address: 0xf_0000, memorySize: 4096 }), { message: /which is not all RAM/ });
  t.throws(() => reserve({ address: 2 ** 60, memorySize: 2 ** 60 }), { message: /there is none above/ });
  t.throws(() => reserve({ address: 0x10_0000, memorySize: 8192 }, { address: 0x10_1fff, memorySize: 8192 }), {
    message: 'the kernel at 0x101fff overlaps the kernel at 0x100000',
  });
});

test('a hostile header is refused or loads inside RAM; nothing is written elsewhere', (t) => {
  const good = makeElf({
    segments: [
      { address: 0x10_0000, data: pattern(64, 1) },
      { address: 0x11_0000, data: pattern(64, 1) },
    ],
    notes: [linuxNote, pvhNote(0x10_0020)],
  });
  const noteAt = good.indexOf('Linux') - 12;
  const margin = 4096;
  const buffer = new SharedArrayBuffer(2 * MIB + 2 * margin);
  const memory = new GuestMemory(buffer, margin, 2 * MIB);
  const property = fc.property(
    fc.array(
      fc.tuple(
        fc.oneof(fc.nat(64 + 3 * 56), fc.integer({ min: noteAt, max: noteAt + 60 })),
        fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
      ),
      { minLength: 1, maxLength: 6 },
    ),
    (changes) => {
      const elf = Buffer.from(good);
      for (const [at, value] of changes) elf[at] = value;
      try {
        const image = parseElf(source(elf));
        reserveElf(image, new Placement(memory), 'vmlinux');
        loadElf(source(elf), image, memory);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
      }
      const outside = [...memory.bytes.subarray(0, margin), ...memory.bytes.subarray(margin + 2 * MIB)];
      return outside.every((byte) => byte === 0);
    },
  );
  t.notThrows(() => fc.assert(property, { numRuns: 1500 }));
});

test('a program with a dynamic linker is no kernel', (t) => {
  using source = new FileSource(process.execPath, 'kernel');
  t.throws(() => parseElf(source), {
    instanceOf: ConfigError,
    message: 'this is a program for an operating system, not a kernel',
  });
});
