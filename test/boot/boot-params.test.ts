import test from 'ava';
import { E820_MAX_ENTRIES, writeBootParams } from '../../lib/boot/boot-params.ts';
import { E820_RAM, E820_RESERVED, e820Map } from '../../lib/boot/e820.ts';
import * as setup from '../../lib/boot/setup-header.ts';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';
import { compareWithC } from '../helpers/c-layout.ts';
import { makeBzImage, pattern } from './support/images.ts';

const GIB = 2 ** 30;
const MIB = 2 ** 20;

const PLAIN = {
  setupHeader: undefined,
  code32Start: 0,
  cmdlineAddress: 0x2_0000,
  cmdlineSize: 42,
  initrdAddress: 0x7f0_0000,
  initrdSize: 0x1234,
  e820: [{ address: 0, size: 0x9_fc00, type: 1 }],
  rsdpAddress: 0xe_0000,
};

test("offsets and constants are those of Linux's headers", (t) => {
  const { jump_length: _jumpLength, ...header } = setup.SETUP;
  const fields = {
    ...Object.fromEntries(Object.entries(header).map(([name, at]) => [`hdr.${name}`, at])),
    ...setup.BOOT_PARAMS,
  };
  const offsets = Object.entries(fields).map(([name, at]) => [`offsetof(struct boot_params, ${name})`, at] as const);
  compareWithC(t, {
    headers: ['asm/bootparam.h'],
    constants: {
      ...Object.fromEntries(offsets),
      'sizeof(struct boot_params)': setup.BOOT_PARAMS_SIZE,
      'offsetof(struct boot_params, edd_mbr_sig_buffer)': setup.SETUP_HEADER_END_MAX,
      'sizeof(struct boot_e820_entry)': 20,
      E820_MAX_ENTRIES_ZEROPAGE: E820_MAX_ENTRIES,
      LOADED_HIGH: setup.LOADED_HIGH,
      KASLR_FLAG: setup.KASLR_FLAG,
      XLF_KERNEL_64: setup.XLF_KERNEL_64,
      XLF_CAN_BE_LOADED_ABOVE_4G: setup.XLF_CAN_BE_LOADED_ABOVE_4G,
    },
  });
});

test('a vmlinux gets a header of our own; the rest of the zero page is zero', (t) => {
  const memory = GuestMemory.plain(MIB);
  memory.bytes.fill(0xff);
  writeBootParams(memory, 0x7000, PLAIN);
  const expected = Buffer.alloc(4096);
  expected.writeUInt32LE(0xe_0000, 0x070);
  expected.writeUInt8(1, 0x1e8);
  expected.writeUInt16LE(0xaa55, 0x1fe);
  expected.write('HdrS', 0x202);
  expected.writeUInt16LE(0x020f, 0x206);
  expected.writeUInt8(0xff, 0x210);
  expected.writeUInt8(1, 0x211);
  expected.writeUInt32LE(0x7f0_0000, 0x218);
  expected.writeUInt32LE(0x1234, 0x21c);
  expected.writeUInt32LE(0x2_0000, 0x228);
  expected.writeUInt32LE(0x20_0000, 0x230);
  expected.writeUInt32LE(42, 0x238);
  expected.writeUInt32LE(0x9_fc00, 0x2d8);
  expected.writeUInt32LE(1, 0x2e0);
  t.deepEqual(Buffer.from(memory.read(0x7000, 4096)), expected);
  t.is(memory.read(0x8000, 1)[0], 0xff);
});

test("a bzImage's header is copied, with what a loader writes changed and no pointer of the image's kept", (t) => {
  const image = makeBzImage({ payload: pattern(100, 1) });
  image.writeUInt8(0x03, 0x211); // KASLR_FLAG set by nobody but the kernel's own decompressor
  image.writeBigUInt64LE(0xdead_beefn, 0x250); // setup_data
  const header = image.subarray(0x1f1, 0x26c);
  const memory = GuestMemory.plain(MIB);
  writeBootParams(memory, 0x7000, { ...PLAIN, setupHeader: header, code32Start: 0x100_0000 });
  const page = Buffer.from(memory.read(0x7000, 4096));
  t.deepEqual(page.subarray(0x22c, 0x250), header.subarray(0x22c - 0x1f1, 0x250 - 0x1f1));
  t.deepEqual(page.subarray(0x258, 0x26c), header.subarray(0x258 - 0x1f1));
  t.is(page.readUInt8(0x211), 1);
  t.is(page.readUInt32LE(0x214), 0x100_0000);
  t.is(page.readBigUInt64LE(0x250), 0n);
  t.is(page.readUInt8(0x1ef), 0, 'the sentinel');
  t.is(page.readUInt8(0x26c), 0);
});

test('addresses above 4 GiB have their upper halves in the ext fields', (t) => {
  const memory = GuestMemory.plain(MIB);
  writeBootParams(memory, 0x7000, { ...PLAIN, initrdAddress: 0x3_1234_5000, initrdSize: 0x1_0000_0001 });
  const { view } = memory;
  t.is(view.getUint32(0x7218, true), 0x1234_5000);
  t.is(view.getUint32(0x70c0, true), 3);
  t.is(view.getUint32(0x721c, true), 1);
  t.is(view.getUint32(0x70c4, true), 1);
});

test('128 memory ranges fit, one more does not', (t) => {
  const memory = GuestMemory.plain(MIB);
  const ranges = (length: number) => Array.from({ length }, (_, i) => ({ address: i * 2 * GIB, size: GIB, type: 1 }));
  writeBootParams(memory, 0x7000, { ...PLAIN, e820: ranges(128) });
  t.is(memory.view.getUint8(0x71e8), 128);
  t.is(memory.view.getBigUint64(0x72d0 + 127 * 20, true), 127n * 2n * BigInt(GIB));
  t.throws(() => writeBootParams(memory, 0x7000, { ...PLAIN, e820: ranges(129) }), { instanceOf: RangeError });
});

test('the memory map: all RAM but the BIOS areas, nothing twice, the hole left out', (t) => {
  const low = [
    { address: 0, size: 0x9_fc00, type: E820_RAM },
    { address: 0x9_fc00, size: 0x400, type: E820_RESERVED },
    { address: 0xe_0000, size: 0x2_0000, type: E820_RESERVED },
  ];
  t.deepEqual(e820Map(GuestMemory.plain(MIB), false), low);
  t.deepEqual(e820Map(GuestMemory.plain(128 * MIB), false), [
    ...low,
    { address: MIB, size: 127 * MIB, type: E820_RAM },
  ]);
  t.deepEqual(e820Map(GuestMemory.plain(5 * GIB), true), [
    ...low,
    { address: MIB, size: 3 * GIB - MIB, type: E820_RAM },
    { address: 0xe000_0000, size: MIB, type: E820_RESERVED },
    { address: 4 * GIB, size: 2 * GIB, type: E820_RAM },
  ]);
  t.deepEqual(e820Map(GuestMemory.plain(16 * GIB), false).at(-1), {
    address: 4 * GIB,
    size: 13 * GIB,
    type: E820_RAM,
  });
});
