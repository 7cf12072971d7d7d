import test from 'ava';
import { startInfoSize, writeStartInfo } from '../../lib/boot/pvh.ts';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';

const e820 = [
  { address: 0, size: 0x9_fc00, type: 1 },
  { address: 0x1_0000_0000, size: 0x2_0000_0000, type: 1 },
  { address: 0xe_0000, size: 0x2_0000, type: 2 },
];

test('the start info is as xen/include/public/arch-x86/hvm/start_info.h draws it', (t) => {
  const memory = GuestMemory.plain(2 ** 20);
  memory.bytes.fill(0xff);
  writeStartInfo(memory, 0x6000, {
    cmdlineAddress: 0x2_0000,
    initrdAddress: 0x7f0_0000,
    initrdSize: 0x12_3456,
    e820,
    rsdpAddress: 0xe_0000,
  });
  const size = startInfoSize(3);
  t.is(size, 56 + 32 + 3 * 24);
  const info = Buffer.from(memory.read(0x6000, size));
  const expected = Buffer.alloc(size);
  expected.writeUInt32LE(0x336ec578, 0);
  expected.writeUInt32LE(1, 4); // version
  expected.writeUInt32LE(1, 12); // nr_modules
  expected.writeUInt32LE(0x6000 + 56, 16); // modlist_paddr
  expected.writeUInt32LE(0x2_0000, 24); // cmdline_paddr
  expected.writeUInt32LE(0xe_0000, 32); // rsdp_paddr
  expected.writeUInt32LE(0x6000 + 88, 40); // memmap_paddr
  expected.writeUInt32LE(3, 48); // memmap_entries
  expected.writeUInt32LE(0x7f0_0000, 56);
  expected.writeUInt32LE(0x12_3456, 64);
  expected.writeUInt32LE(0x9_fc00, 88 + 8);
  expected.writeUInt32LE(1, 88 + 16);
  expected.writeUInt32LE(1, 112 + 4);
  expected.writeUInt32LE(2, 112 + 12);
  expected.writeUInt32LE(1, 112 + 16);
  expected.writeUInt32LE(0xe_0000, 136);
  expected.writeUInt32LE(0x2_0000, 136 + 8);
  expected.writeUInt32LE(2, 136 + 16);
  t.deepEqual(info, expected);
  t.is(memory.read(0x6000 + size, 1)[0], 0xff);
});

test('without an initrd there is no module', (t) => {
  const memory = GuestMemory.plain(2 ** 20);
  writeStartInfo(memory, 0x6000, { cmdlineAddress: 1, initrdAddress: 0, initrdSize: 0, e820, rsdpAddress: 0 });
  t.is(memory.view.getUint32(0x600c, true), 0);
  t.is(memory.view.getUint32(0x6010, true), 0);
});
