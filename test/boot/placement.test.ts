import test from 'ava';
import fc from 'fast-check';
import { alignDown, alignUp, readU64, writeU64 } from '../../lib/boot/bytes.ts';
import { Placement } from '../../lib/boot/placement.ts';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

test('usable RAM leaves out the BIOS areas and the hole', (t) => {
  t.deepEqual(new Placement(GuestMemory.plain(MIB)).usable, [{ start: 0, end: 0x9_fc00 }]);
  t.deepEqual(new Placement(GuestMemory.plain(4 * GIB)).usable, [
    { start: 0, end: 0x9_fc00 },
    { start: MIB, end: 3 * GIB },
    { start: 4 * GIB, end: 5 * GIB },
  ]);
});

test('low and high places, around what is taken', (t) => {
  const placement = new Placement(GuestMemory.plain(16 * MIB));
  placement.reserve('kernel', MIB, 4 * MIB, 'k');
  t.is(placement.allocateLow('a', 100, 16, 0x1000, 16 * MIB), 0x1000);
  t.is(placement.allocateLow('b', 100, 16, 0x1000, 16 * MIB), 0x1070);
  t.is(placement.allocateLow('c', 0x9_e000, 4096, 0x1000, 16 * MIB), 5 * MIB);
  t.is(placement.allocateHigh('d', 100, 4096, MIB, 16 * MIB), 16 * MIB - 4096);
  t.is(placement.allocateHigh('e', 100, 4096, MIB, 16 * MIB), 16 * MIB - 8192);
  t.is(placement.allocateHigh('f', 0x1000, 4096, 0, 5 * MIB), 0x9_e000);
  t.is(placement.allocateHigh('g', 16 * MIB, 4096, 0, 16 * MIB), -1);
  t.is(placement.allocateLow('h', 16 * MIB, 4096, 0, 16 * MIB), -1);
  t.deepEqual(
    placement.placed.map(({ what }) => what),
    ['a', 'b', 'f', 'kernel', 'c', 'e', 'd'],
  );
});

test('whatever is asked for, nothing overlaps and all of it is usable RAM', (t) => {
  const size = fc.integer({ min: 1, max: 3 * MIB });
  const alignment = fc.constantFrom(1, 16, 4096, 2 * MIB);
  const request = fc.record({
    size,
    alignment,
    high: fc.boolean(),
    min: fc.nat(8 * MIB),
    max: fc.nat(3 * GIB + 4 * GIB),
  });
  const memory = GuestMemory.plain(3 * GIB + 16 * MIB);
  const property = fc.property(fc.array(request, { maxLength: 30 }), (requests) => {
    const placement = new Placement(memory);
    for (const { size, alignment, high, min, max } of requests) {
      const start = high
        ? placement.allocateHigh('x', size, alignment, min, max)
        : placement.allocateLow('x', size, alignment, min, max);
      if (start < 0) continue;
      t.is(start % alignment, 0);
      t.true(start >= min && start + size <= max);
      t.true(placement.isUsable(start, start + size));
    }
    for (const [i, { end }] of placement.placed.entries()) {
      const next = placement.placed[i + 1];
      if (next !== undefined) t.true(end <= next.start);
    }
  });
  fc.assert(property);
});

test('numbers of 64 bits, and alignment beyond 32', (t) => {
  const view = new DataView(new ArrayBuffer(8));
  for (const value of [0, 1, 0xffff_ffff, 0x1_0000_0000, Number.MAX_SAFE_INTEGER]) {
    writeU64(view, 0, value);
    t.is(view.getBigUint64(0, true), BigInt(value));
    t.is(readU64(view, 0), value);
  }
  t.is(alignUp(5 * GIB + 1, 4096), 5 * GIB + 4096);
  t.is(alignUp(5 * GIB, 4096), 5 * GIB);
  t.is(alignDown(5 * GIB - 1, 4096), 5 * GIB - 4096);
  t.is(alignDown(-1, 4096), -4096);
});
