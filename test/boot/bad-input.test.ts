import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, truncateSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { loadGuest } from '../../lib/boot/boot.ts';
import { parseBzImage } from '../../lib/boot/bzimage.ts';
import { BytesSource, FileSource } from '../../lib/boot/image-source.ts';
import { inspectKernel } from '../../lib/boot/kernel-file.ts';
import { ConfigError } from '../../lib/errors.ts';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';
import { linuxNote, makeBzImage, makeElf, pattern, pvhNote, scratch, withSize } from './support/images.ts';
import { pipe } from './support/tools.ts';

const MIB = 2 ** 20;
const DEVICES = { serial: true, i8042: true, pvpanic: true, rtc: true, virtioMmio: [] };
const VMLINUX = makeElf({ segments: [{ address: 0x100_0000, data: pattern(10_000, 1) }], notes: [linuxNote] });
const GZIPPED = pipe('gzip', ['-n', '-9'], VMLINUX);

const start = (path: string, initrd?: string, memory = GuestMemory.plain(32 * MIB)) =>
  loadGuest({
    memory,
    kernel: { path },
    initrd: initrd === undefined ? undefined : { path: initrd },
    bootArgs: 'console=ttyS0',
    vcpuCount: 1,
    devices: DEVICES,
    acpi: true,
  });

/** One clear line that begins with the file. */
async function refused(t: ExecutionContext, path: string, message: RegExp, initrd?: string): Promise<void> {
  const error = await t.throwsAsync(start(path, initrd), { instanceOf: ConfigError });
  const line = error.toLine();
  t.true(line.startsWith(`${initrd ?? path}: `), line);
  t.notRegex(line, /\n/);
  t.regex(line, message);
  t.not(error.hint, undefined, line);
}

/** A file of 1 MiB that begins as the format does. */
function beginning(bytes: readonly number[] | string, at = 0, more: [number, string][] = []): Buffer {
  const file = Buffer.alloc(MIB);
  file.set(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes, at);
  for (const [offset, text] of more) file.write(text, offset, 'latin1');
  return file;
}

const OTHERS: readonly [what: string, file: Buffer, message: RegExp][] = [
  ['a gzipped vmlinux', GZIPPED, /: this is a gzip file; unpack it first: gunzip$/],
  ['an xz file', pipe('xz', [], VMLINUX), /: this is an xz file; unpack it first: unxz$/],
  ['a zstd file', pipe('zstd', [], VMLINUX), /: this is a zstd file; unpack it first: unzstd$/],
  ['an lz4 file', pipe('lz4', ['-l', '-', '-'], VMLINUX), /: this is an lz4 file; unpack it first: unlz4$/],
  ['an lz4 file of the newer format', pipe('lz4', ['-', '-'], VMLINUX), /: this is an lz4 file;/],
  ['a bzip2 file', pipe('bzip2', [], VMLINUX), /: this is a bzip2 file; unpack it first: bunzip2$/],
  ['an arm64 Image', beginning('ARM\x64', 0x38), /: this is a kernel for arm64; use a kernel built for x86-64/],
  ['an arm64 Image with an EFI stub', beginning('MZ', 0, [[0x38, 'ARM\x64']]), /: this is a kernel for arm64;/],
  ['a RISC-V Image', beginning('RISCV\0\0\0RSC\x05', 0x30), /: this is a kernel for RISC-V;/],
  ['an EFI zboot image', beginning('MZ\0\0zimg'), /: this is a compressed EFI kernel \(EFI zboot\);/],
  ['an EFI program', beginning('MZ'), /: this is an EFI program, not a kernel image;/],
  ['a U-Boot image', beginning([0x27, 0x05, 0x19, 0x56]), /: this is a U-Boot image;/],
  [
    'an initramfs',
    beginning('070701'),
    /: this is a cpio archive, as an initramfs is; are kernel and initrd swapped\?$/,
  ],
  ['a Debian package', beginning('!<arch>\n'), /: this is an ar archive, as a .deb is;/],
  ['text', Buffer.from('# a config file, not a kernel\n'), /: this is no kernel: neither an ELF file nor a bzImage;/],
  ['zeroes', Buffer.alloc(MIB), /: this is no kernel:/],
  ['one byte', Buffer.of(0x7f), /: this is no kernel:/],
];

for (const [what, file, message] of OTHERS) {
  test(`not a kernel: ${what}`, (t) => refused(t, scratch(t)('kernel', file), message));
}

test('no file, an empty file, a directory, a FIFO, a file that may not be read', async (t) => {
  const file = scratch(t);
  const empty = file('empty', '');
  const directory = dirname(empty);
  await refused(t, join(directory, 'missing'), /: no such file; check the path$/);
  await refused(t, join(empty, 'below'), /: cannot open it \(ENOTDIR\); check the path$/);
  await refused(t, empty, /: the kernel is empty;/);
  mkdirSync(join(directory, 'directory'));
  await refused(t, join(directory, 'directory'), /: the kernel is not a regular file; name a file$/);
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  await refused(t, fifo, /: the kernel is not a regular file;/);
  const kernel = file('kernel', VMLINUX);
  await refused(t, kernel, /: no such file;/, join(directory, 'missing'));
  await refused(t, kernel, /: the initrd is empty;/, empty);
  await refused(t, kernel, /: the initrd is not a regular file;/, directory);
  // Root may read everything.
  if (process.geteuid?.() !== 0) {
    chmodSync(kernel, 0);
    await refused(t, kernel, /: cannot open it \(EACCES\); make it readable for this user$/);
  }
});

test('a file that becomes shorter while it is read', (t) => {
  const path = scratch(t)('kernel', VMLINUX);
  using source = new FileSource(path, 'kernel');
  truncateSync(path, 4000);
  t.throws(() => source.readInto(new Uint8Array(8000), 0, 0, 8000), {
    instanceOf: ConfigError,
    message: 'it became shorter while it was read',
  });
});

test('32-bit kernels', async (t) => {
  const file = scratch(t);
  const segments = [{ address: 0x100_0000, data: pattern(10_000, 1) }];
  const elf32 = makeElf({ is64Bit: false, segments, notes: [linuxNote] });
  const packed = pipe('gzip', ['-n'], elf32);
  await refused(
    t,
    file('a', elf32),
    /: the kernel is a 32-bit one, without a PVH entry point; use a kernel built for x86-64$/,
  );
  await refused(t, file('b', makeBzImage({ payload: packed, xloadflags: 0 })), /: the kernel is a 32-bit one;/);
  // Before protocol 2.12 only the payload tells.
  await refused(
    t,
    file('c', makeBzImage({ payload: packed, xloadflags: 0, version: 0x20b })),
    /: the kernel is a 32-bit one;/,
  );
  const old = makeBzImage({ payload: GZIPPED, xloadflags: 0, version: 0x20b });
  t.is((await start(file('d', old))).protocol, 'linux64');
  await t.throwsAsync(loadWith(file('e', elf32), 'linux64'), { message: 'the kernel is a 32-bit one' });
  await t.throwsAsync(loadWith(file('f', VMLINUX), 'pvh'), { message: 'the kernel has no PVH entry point' });
});

const loadWith = (path: string, protocol: 'linux64' | 'pvh') =>
  loadGuest({
    memory: GuestMemory.plain(32 * MIB),
    kernel: { path },
    bootArgs: '',
    vcpuCount: 1,
    devices: DEVICES,
    acpi: false,
    protocol,
  });

test('a bzImage that is cut off, too old, or damaged', async (t) => {
  const file = scratch(t);
  const good = makeBzImage({ payload: GZIPPED });
  const changed = (change: (image: Buffer) => void) => {
    const image = Buffer.from(good);
    change(image);
    return image;
  };
  await refused(t, file('a', good.subarray(0, 0x240)), /: the bzImage is cut off: its setup header is not all there;/);
  await refused(
    t,
    file('b', good.subarray(0, 5000)),
    /: the bzImage is cut off: it ends before its protected-mode kernel;/,
  );
  await refused(
    t,
    file('c', good.subarray(0, good.length - 100)),
    /: the bzImage is cut off: its payload ends at byte \d+ of \d+;/,
  );
  await refused(
    t,
    file('d', makeBzImage({ payload: GZIPPED, version: 0x205 })),
    /: the bzImage has boot protocol 2.5, and 2.06 is the oldest that works;/,
  );
  await refused(
    t,
    file('e', makeBzImage({ payload: GZIPPED, loadflags: 0 })),
    /: the kernel is a zImage, which is loaded below 640 KiB; build a bzImage$/,
  );
  await refused(
    t,
    file(
      'f',
      changed((image) => image.writeUInt8(0xff, 0x201)),
    ),
    /: the bzImage has a setup header of odd length;/,
  );
  await refused(
    t,
    file(
      'g',
      changed((image) => image.writeUInt8(0x10, 0x201)),
    ),
    /: the bzImage has a setup header of odd length;/,
  );
  const payloadAt = 28 * 512 + 0x2cc;
  await refused(
    t,
    file(
      'h',
      changed((image) => image.fill(0x55, payloadAt + 200, payloadAt + 260)),
    ),
    /: the bzImage is damaged: gzip data is damaged: /,
  );
  for (const [name, size] of [
    ['i', VMLINUX.length - 1],
    ['j', VMLINUX.length + 1],
    ['k', 0],
    ['l', 0xffff_ffff],
  ] as const) {
    const lz4 = pipe('lz4', ['-l', '-9', '-', '-'], VMLINUX);
    await refused(t, file(name, makeBzImage({ payload: withSize(lz4, size) })), /: the bzImage is damaged: /);
  }
  const noElf = pipe('gzip', ['-n'], Buffer.alloc(10_000, 'no kernel'));
  await refused(t, file('m', makeBzImage({ payload: noElf })), /: the bzImage holds no ELF kernel;/);
  const tooHigh = makeBzImage({ payload: Buffer.alloc(100), preferredAddress: 0x7000_0000_0000 });
  await refused(
    t,
    file('n', tooHigh),
    /: the kernel needs guest memory up to 0x700000800000, and there is none above 0x2000000;/,
  );
  const no64 = makeBzImage({ payload: Buffer.alloc(100), version: 0x20b });
  await refused(t, file('o', no64), /: the bzImage has no 64-bit entry point;/);
});

test('the setup header is read as boot.rst describes it', (t) => {
  const payload = pattern(1000, 1);
  const image = parseBzImage(new BytesSource('k', makeBzImage({ payload, setupSects: 39, cmdlineSize: 2047 })));
  t.like(image, {
    version: 0x20f,
    kernelOffset: 40 * 512,
    payloadOffset: 40 * 512 + 0x2cc,
    payloadSize: 1000,
    has64BitEntry: true,
    canBeLoadedAbove4G: true,
    preferredAddress: 0x100_0000,
    initSize: 0x80_0000,
    cmdlineSize: 2047,
    initrdAddressMax: 0x7fff_ffff,
  });
  t.is(image.setupHeader.length, 0x26c - 0x1f1);
  const zeroSects = parseBzImage(new BytesSource('k', makeBzImage({ payload, setupSects: 0 })));
  t.is(zeroSects.kernelOffset, 5 * 512, '0 stands for 4');
  const old = parseBzImage(new BytesSource('k', makeBzImage({ payload, version: 0x206 })));
  t.like(old, {
    payloadSize: 0,
    has64BitEntry: undefined,
    canBeLoadedAbove4G: false,
    initSize: 0,
    preferredAddress: 0x10_0000,
  });
});

test('a hostile setup header is refused or loads inside RAM; nothing is written elsewhere', async (t) => {
  const file = scratch(t);
  const margin = 4096;
  const size = 24 * MIB;
  const images = [
    makeBzImage({ payload: GZIPPED, initSize: 0x40_0000 }),
    makeBzImage({
      payload: withSize(pipe('lz4', ['-l', '-9', '-', '-'], VMLINUX), VMLINUX.length),
      initSize: 0x40_0000,
    }),
    makeBzImage({ payload: Buffer.from('of no known compression'), initSize: 0x40_0000 }),
  ];
  const memory = new GuestMemory(new SharedArrayBuffer(size + 2 * margin), margin, size);
  const field = fc.integer({ min: 0x1f1, max: 0x26c });
  const value = fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
  const property = fc.asyncProperty(
    fc.nat(images.length - 1),
    fc.array(fc.tuple(field, value), { minLength: 1, maxLength: 5 }),
    async (which, changes) => {
      const image = Buffer.from(images[which]!);
      for (const [at, byte] of changes) image[at] = byte;
      try {
        await start(file('kernel', image), undefined, memory);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
      }
      const outside = [...memory.bytes.subarray(0, margin), ...memory.bytes.subarray(margin + size)];
      return outside.every((byte) => byte === 0);
    },
  );
  await t.notThrowsAsync(fc.assert(property, { numRuns: 400 }));
});

test('any bytes at all are refused in one line, or are a kernel', (t) => {
  const property = fc.property(
    fc.constantFrom('\x7fELF\x02\x01\x01', '\x7fELF\x01\x01\x01', 'MZ', ''),
    fc.boolean(),
    fc.uint8Array({ maxLength: 1200 }),
    (magic, hasSetupHeader, bytes) => {
      const image = Buffer.from(bytes);
      image.write(magic, 0, 'latin1');
      if (hasSetupHeader && image.length > 0x206) {
        image.writeUInt16LE(0xaa55, 0x1fe);
        image.write('HdrS', 0x202);
      }
      try {
        inspectKernel(new BytesSource('kernel', image));
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        return !error.toLine().includes('\n');
      }
      return true;
    },
  );
  t.notThrows(() => fc.assert(property, { numRuns: 2000 }));
});

test('a PVH entry point outside the kernel, and an entry point outside it', async (t) => {
  const file = scratch(t);
  const segments = [{ address: 0x100_0000, data: pattern(100, 1) }];
  await refused(
    t,
    file('a', makeElf({ segments, notes: [pvhNote(0x10_0000)] })),
    /: the PVH entry point 0x100000 lies in no loaded segment;/,
  );
  await refused(
    t,
    file('b', makeElf({ segments, entry: 0xfff_ffff })),
    /: the entry point 0xfffffff lies in no loaded segment;/,
  );
});
