import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setImmediate as immediate } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { decodeBcjX86 } from '../../lib/boot/decompress/bcj-x86.ts';
import {
  type Compression,
  CorruptDataError,
  decompress,
  detectCompression,
  UnsupportedCompressionError,
} from '../../lib/boot/decompress/index.ts';
import { decodeLz4Block } from '../../lib/boot/decompress/lz4.ts';
import { decodeXz } from '../../lib/boot/decompress/xz.ts';
import { KERNEL_COMPRESSORS, pipe } from './support/tools.ts';

/** Real x86-64 code, so that the x86 filter has calls to turn, and data of every kind around it. */
const code = readFileSync(process.execPath).subarray(0x200_0000, 0x200_0000 + 2 ** 20 + 12345);

/** Compressible and not, long runs, and repetitions near and far. */
const mixed = Buffer.concat([
  Buffer.alloc(70_000),
  randomBytes(100_000),
  code.subarray(0, 300_000),
  Buffer.alloc(1000, 'ab'),
  Buffer.from('x'),
  code.subarray(100_000, 200_000),
  Buffer.alloc(66_000, 'a much longer text, which repeats itself; '),
]);

/*
 * Each test waits a moment first: the tests are long calls, and ava takes a process that says nothing for dead.
 */

/** Where a byte outside the output changed, a decoder wrote where it must not. */
const GUARD = 64;

function unpack(compression: Compression, packed: Uint8Array, size: number): Uint8Array {
  const guarded = new Uint8Array(size + 2 * GUARD).fill(0xa5);
  const isIntact = () =>
    guarded.subarray(0, GUARD).every((byte) => byte === 0xa5) &&
    guarded.subarray(GUARD + size).every((byte) => byte === 0xa5);
  const failIfNot = () => {
    if (!isIntact()) throw new Error('written outside the output');
  };
  let output: Uint8Array;
  try {
    output = decompress(compression, packed, size, (length) => guarded.subarray(GUARD, GUARD + length));
  } catch (error) {
    failIfNot();
    throw error;
  }
  failIfNot();
  return output;
}

for (const { config, program, args } of KERNEL_COMPRESSORS) {
  test(`unpacks what the kernel's build makes for ${config}: ${program} ${args.join(' ')}`, async (t) => {
    await immediate();
    for (const data of [code, mixed, Buffer.from('short'), Buffer.alloc(3_000_000)]) {
      const packed = pipe(program, args, data);
      const compression = detectCompression(packed);
      t.not(compression, undefined);
      t.deepEqual(Buffer.compare(unpack(compression!, packed, data.length), data), 0);
    }
  });

  test(`damaged data of ${config} is an error or other data, and nothing else (${args.length} arguments)`, async (t) => {
    await immediate();
    const data = mixed.subarray(150_000, 260_000);
    const packed = pipe(program, args, data);
    const compression = detectCompression(packed)!;
    const property = fc.property(
      fc.array(fc.tuple(fc.nat(packed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(packed.length),
      (changes, length) => {
        const damaged = Buffer.from(packed);
        for (const [at, value] of changes) damaged[at] = value;
        for (const input of [damaged, packed.subarray(0, length)]) {
          try {
            t.is(unpack(compression, input, data.length).length, data.length);
          } catch (error) {
            if (!(error instanceof CorruptDataError || error instanceof UnsupportedCompressionError)) throw error;
          }
        }
      },
    );
    fc.assert(property, { numRuns: 60 });
    t.pass();
  });

  test(`another size than announced is an error for ${config} (${args.length} arguments)`, async (t) => {
    await immediate();
    const packed = pipe(program, args, mixed);
    const compression = detectCompression(packed)!;
    t.throws(() => unpack(compression, packed, mixed.length + 1), { instanceOf: CorruptDataError });
    // LZMA's end marker is not looked for: the file then seems to end where the output does.
    if (compression !== 'lzma') {
      t.throws(() => unpack(compression, packed, mixed.length - 1), { instanceOf: CorruptDataError });
    }
  });
}

test('xz: several blocks, other checks, other literal and position bits, an x86 filter that starts elsewhere', async (t) => {
  await immediate();
  for (const args of [
    ['--check=crc32', '--block-size=65536', '--x86', '--lzma2=dict=32MiB'],
    ['--check=none', '--block-size=100001'],
    ['--check=crc64'],
    ['--check=sha256', '--lzma2=preset=0,lc=0,lp=4,pb=0'],
    ['--check=crc32', '--x86=start=4096', '--lzma2=lc=3,lp=1,pb=4'],
    ['--check=crc32', '--lzma2=preset=9e,lc=4,lp=0,nice=273'],
  ]) {
    const packed = pipe('xz', args, mixed);
    t.is(Buffer.compare(unpack('xz', packed, mixed.length), mixed), 0, args.join(' '));
  }
});

test('xz: a filter that no kernel for x86 uses is refused by its number', async (t) => {
  await immediate();
  const packed = pipe('xz', ['--check=crc32', '--arm', '--lzma2'], mixed);
  t.throws(() => unpack('xz', packed, mixed.length), {
    instanceOf: UnsupportedCompressionError,
    message: 'no decoder for xz with filter 0x7',
  });
});

test('xz: every damage to a block is found by its CRC32', async (t) => {
  await immediate();
  const data = code.subarray(0, 20_000);
  const packed = pipe('xz', ['--check=crc32', '--x86', '--lzma2=,dict=32MiB'], data);
  // From the first block's header on, up to its check; the index and the footer are not read.
  const blockEnd = packed.length - 12 - 8;
  for (let at = 12; at < blockEnd - 4; at += 7) {
    const damaged = Buffer.from(packed);
    damaged[at]! ^= 0x10;
    t.throws(() => unpack('xz', damaged, data.length), undefined, `byte ${at}`);
  }
});

test('lzma: a header that names the size', async (t) => {
  await immediate();
  const packed = pipe('lzma', ['-9'], mixed);
  packed.writeBigUInt64LE(BigInt(mixed.length), 5);
  t.is(Buffer.compare(unpack('lzma', packed, mixed.length), mixed), 0);
  packed.writeBigUInt64LE(BigInt(mixed.length + 1), 5);
  t.throws(() => unpack('lzma', packed, mixed.length), { instanceOf: CorruptDataError });
});

test('lz4: several legacy frames in one file, and blocks of 8 MiB', async (t) => {
  await immediate();
  const large = Buffer.concat([Buffer.alloc(8_000_000), code, mixed]);
  const packed = Buffer.concat([
    pipe('lz4', ['-l', '-9', '-', '-'], large),
    pipe('lz4', ['-l', '-1', '-', '-'], mixed),
  ]);
  const both = Buffer.concat([large, mixed]);
  t.is(Buffer.compare(unpack('lz4', packed, both.length), both), 0);
});

test('lz4: the sequences of the format description', async (t) => {
  await immediate();
  // Token 0x31: three literals, a match of 4 + 1 at offset 2; then the last literals.
  const block = Uint8Array.of(0x31, 0x61, 0x62, 0x63, 0x02, 0x00, 0x20, 0x78, 0x79);
  const output = new Uint8Array(10);
  t.is(decodeLz4Block(block, 0, block.length, output, 0), 10);
  t.is(Buffer.from(output).toString(), 'abcbcbcbxy');
  const offsetZero = Uint8Array.of(0x10, 0x61, 0x00, 0x00);
  t.throws(() => decodeLz4Block(offsetZero, 0, 4, output, 0), { instanceOf: CorruptDataError });
  const offsetTooFar = Uint8Array.of(0x10, 0x61, 0x02, 0x00);
  t.throws(() => decodeLz4Block(offsetTooFar, 0, 4, output, 0), { instanceOf: CorruptDataError });
});

test('the x86 filter undoes what xz did, whatever the bytes', async (t) => {
  await immediate();
  // Opcodes, sign bytes and others near each other, in every order: what the filter looks at.
  const byte = fc.constantFrom(0xe8, 0xe9, 0x00, 0xff, 0x01, 0xe8, 0xfe, 0x80, 0x7f);
  const property = fc.property(
    fc.uint8Array({ minLength: 0, maxLength: 3 }),
    fc.array(byte, { minLength: 0, maxLength: 400 }),
    (first, rest) => {
      const data = Buffer.from([...first, ...rest]);
      const packed = pipe('xz', ['--check=crc32', '--x86', '--lzma2=preset=0'], data);
      t.is(Buffer.compare(unpack('xz', packed, data.length), data), 0);
    },
  );
  fc.assert(property, { numRuns: 150 });
});

test('the x86 filter: one call, by hand', async (t) => {
  await immediate();
  // call +0x10 at address 3: stored as its target's address, 3 + 5 + 0x10.
  const bytes = Uint8Array.of(0x90, 0x90, 0x90, 0xe8, 0x18, 0x00, 0x00, 0x00, 0xc3);
  decodeBcjX86(bytes, 0, bytes.length);
  t.deepEqual([...bytes], [0x90, 0x90, 0x90, 0xe8, 0x10, 0x00, 0x00, 0x00, 0xc3]);
});

test('unpacks into shared memory', async (t) => {
  await immediate();
  const packed = pipe('xz', ['--check=crc32', '--x86', '--lzma2=,dict=32MiB'], code);
  const shared = new Uint8Array(new SharedArrayBuffer(code.length));
  t.is(decodeXz(packed, shared), code.length);
  t.is(crc32(shared), crc32(code));
});

test('bzip2 is known and has no decoder; other data has no compression', async (t) => {
  await immediate();
  t.is(detectCompression(Buffer.from('BZh91AY&SY')), 'bzip2');
  t.throws(() => unpack('bzip2', Buffer.from('BZh9'), 10), { instanceOf: UnsupportedCompressionError });
  t.is(detectCompression(Buffer.from('\x7fELF and so on, for more than a header')), undefined);
  t.is(detectCompression(Buffer.alloc(100)), undefined);
  t.is(detectCompression(Buffer.alloc(2)), undefined);
});
