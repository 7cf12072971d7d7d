import test from 'ava';
import fc from 'fast-check';
import type { AccessSize, BusDevice } from '../../devices/bus.ts';
import type { BusWidth } from '../../devices/bus-ranges.ts';
import { MmioBus } from '../../devices/mmio-bus.ts';
import { ALTERNATE_DELAY_PORT, OpenBus, POST_CODE_PORT } from '../../devices/open-bus.ts';
import { PORT_COUNT, PortBus } from '../../devices/port-bus.ts';

/** Byte-wise memory that notes each access, and refuses what a bus must never hand to a device. */
class Memory implements BusDevice {
  readonly bytes: Uint8Array;
  readonly accesses: string[] = [];
  readonly #width: number;

  constructor(length: number, width = 4) {
    this.bytes = new Uint8Array(length);
    this.#width = width;
  }

  read(offset: number, size: AccessSize): number {
    this.#check(offset, size);
    this.accesses.push(`r${size}@${offset}`);
    let value = 0;
    for (let i = 0; i < size; i++) value += this.bytes[offset + i]! * 2 ** (8 * i);
    return value;
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.#check(offset, size);
    if (value < 0 || value >= 2 ** (8 * size)) throw new RangeError(`value ${value} of ${size} bytes`);
    this.accesses.push(`w${size}@${offset}`);
    for (let i = 0; i < size; i++) this.bytes[offset + i] = Math.floor(value / 2 ** (8 * i)) & 0xff;
  }

  #check(offset: number, size: number): void {
    if (size > this.#width || offset < 0 || offset + size > this.bytes.length) {
      throw new RangeError(`access of ${size} at ${offset}`);
    }
  }
}

const SIZES: readonly BusWidth[] = [1, 2, 4];

for (const [name, make] of [
  ['port', () => new PortBus()],
  ['memory', () => new MmioBus()],
] as const) {
  test(`${name} bus: a device sees offsets from the start of its range`, (t) => {
    const bus = make();
    const device = new Memory(8);
    bus.add(0x3f8, 8, device);
    bus.write(0x3fa, 2, 0xbeef);
    t.is(bus.read(0x3f8, 4), 0xbeef_0000);
    t.is(bus.read(0x3fb, 1), 0xbe);
    t.deepEqual(device.accesses, ['w2@2', 'r4@0', 'r1@3']);
    t.is(bus.unclaimed.reads + bus.unclaimed.writes, 0);
  });

  test(`${name} bus: what nobody claims reads all ones, swallows writes, and is counted`, (t) => {
    const bus = make();
    t.is(bus.read(0x2f8, 1), 0xff);
    t.is(bus.read(0x2f8, 2), 0xffff);
    t.is(bus.read(0x2f8, 4), 0xffff_ffff);
    bus.write(0x2f8, 4, 0x1234_5678);
    t.is(bus.unclaimed.reads, 3);
    t.is(bus.unclaimed.writes, 1);
  });

  test(`${name} bus: an access that spans two devices reaches each in parts`, (t) => {
    const bus = make();
    const low = new Memory(2);
    const high = new Memory(2);
    bus.add(0x100, 2, low);
    bus.add(0x102, 2, high);
    bus.write(0x101, 2, 0xabcd);
    t.deepEqual([...low.bytes, ...high.bytes], [0, 0xcd, 0xab, 0]);
    bus.write(0x100, 4, 0x8765_4321);
    t.deepEqual([...low.bytes, ...high.bytes], [0x21, 0x43, 0x65, 0x87]);
    t.is(bus.read(0x100, 4), 0x8765_4321);
    t.is(bus.unclaimed.reads + bus.unclaimed.writes, 0);
  });

  test(`${name} bus: the unclaimed rest of an access reads all ones and is not counted`, (t) => {
    const bus = make();
    const device = new Memory(2);
    bus.add(0x101, 2, device);
    t.is(bus.read(0x100, 4), 0xff00_00ff);
    bus.write(0x100, 4, 0x4433_2211);
    t.deepEqual([...device.bytes], [0x22, 0x33]);
    t.is(bus.unclaimed.reads + bus.unclaimed.writes, 0);
  });

  test(`${name} bus: a device of width 1 gets a wide access byte by byte, low address first`, (t) => {
    const bus = make();
    const device = new Memory(8, 1);
    bus.add(0x3f8, 8, device, 1);
    bus.write(0x3f8, 4, 0x0403_0201);
    t.is(bus.read(0x3f9, 2), 0x0302);
    t.deepEqual(device.accesses, ['w1@0', 'w1@1', 'w1@2', 'w1@3', 'r1@1', 'r1@2']);
  });

  test(`${name} bus: ranges neither overlap nor are empty`, (t) => {
    const bus = make();
    bus.add(0x100, 0x10, new Memory(0x10));
    t.throws(() => bus.add(0x10f, 1, new Memory(1)), { instanceOf: RangeError, message: /0x10f to 0x10f are taken/ });
    t.throws(() => bus.add(0xff, 2, new Memory(2)), { instanceOf: RangeError });
    t.throws(() => bus.add(0xff, 0x20, new Memory(0x20)), { instanceOf: RangeError });
    t.throws(() => bus.add(0x200, 0, new Memory(1)), { instanceOf: RangeError });
    t.throws(() => bus.add(-1, 1, new Memory(1)), { instanceOf: RangeError });
    t.notThrows(() => bus.add(0x110, 1, new Memory(1)));
    t.notThrows(() => bus.add(0xff, 1, new Memory(1)));
  });

  test(`${name} bus: a range that was removed is unclaimed and can be taken again`, (t) => {
    const bus = make();
    bus.add(0x100, 4, new Memory(4));
    t.is(bus.read(0x100, 1), 0);
    t.false(bus.remove(0x101));
    t.true(bus.remove(0x100));
    t.false(bus.remove(0x100));
    t.is(bus.read(0x100, 1), 0xff);
    const next = new Memory(8);
    bus.add(0xfe, 8, next);
    bus.write(0x100, 1, 7);
    t.is(next.bytes[2], 7);
  });

  test(`${name} bus: any layout and any access agree with a flat model`, (t) => {
    const layout = fc.array(fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 9 }), fc.constantFrom(...SIZES)), {
      maxLength: 12,
    });
    const access = fc.record({
      address: fc.nat(70),
      size: fc.constantFrom(...SIZES),
      value: fc.nat({ max: 0xffff_ffff }),
      write: fc.boolean(),
    });
    fc.assert(
      fc.property(layout, fc.array(access, { maxLength: 40 }), (ranges, accesses) => {
        const bus = make();
        const model = new Map<number, number>();
        for (const [start, length, width] of ranges) {
          const free = Array.from({ length }, (_, i) => !model.has(start + i)).every(Boolean);
          if (!free) continue;
          bus.add(start, length, new Memory(length, width), width);
          for (let i = 0; i < length; i++) model.set(start + i, 0);
        }
        for (const { address, size, value, write } of accesses) {
          const bytes = Array.from({ length: size }, (_, i) => address + i);
          if (write) {
            const written = size === 4 ? value : value % 2 ** (8 * size);
            bus.write(address, size, written);
            for (const [i, at] of bytes.entries()) {
              if (model.has(at)) model.set(at, Math.floor(written / 2 ** (8 * i)) & 0xff);
            }
          } else {
            const expected = bytes.reduce((sum, at, i) => sum + (model.get(at) ?? 0xff) * 2 ** (8 * i), 0);
            t.is(bus.read(address, size), expected);
          }
        }
      }),
    );
    t.pass();
  });
}

test('port bus: the last ports, and accesses that reach beyond them', (t) => {
  const bus = new PortBus();
  const device = new Memory(2);
  bus.add(PORT_COUNT - 2, 2, device);
  t.throws(() => bus.add(PORT_COUNT - 1, 2, device), { instanceOf: RangeError });
  bus.write(PORT_COUNT - 1, 4, 0x4433_2211);
  t.deepEqual([...device.bytes], [0, 0x11]);
  t.is(bus.read(PORT_COUNT - 1, 4), 0xffff_ff11);
});

test('port bus: at most 255 devices', (t) => {
  const bus = new PortBus();
  for (let i = 0; i < 255; i++) bus.add(i * 2, 1, new Memory(1));
  t.throws(() => bus.add(0x1000, 1, new Memory(1)), { instanceOf: RangeError, message: /more than 255 devices/ });
  bus.remove(100);
  t.notThrows(() => bus.add(0x1000, 1, new Memory(1)));
});

test('memory bus: addresses above 4 GiB', (t) => {
  const bus = new MmioBus();
  const device = new Memory(0x1000);
  const start = 2 ** 45 + 0x1000;
  bus.add(start, 0x1000, device);
  bus.write(start + 0xffc, 4, 0xdead_beef);
  t.is(bus.read(start + 0xffc, 4), 0xdead_beef);
  t.is(bus.read(start + 0x1000, 4), 0xffff_ffff);
  t.is(bus.read(start - 4, 4), 0xffff_ffff);
});

test('an unclaimed address is reported once, and only so many of them', (t) => {
  const seen: string[] = [];
  const bus = new PortBus((address, size, write) => seen.push(`${write ? 'w' : 'r'}${size}@${address}`));
  bus.read(0x10, 1);
  bus.read(0x10, 4);
  bus.write(0x10, 1, 0);
  bus.write(0x20, 2, 0);
  t.deepEqual(seen, ['r1@16', 'w2@32']);
  for (let port = 0x1000; port < 0x9000; port++) bus.read(port, 1);
  t.is(seen.length, 64);
  t.is(bus.unclaimed.reads, 2 + 0x8000);
});

test('the delay ports answer as nobody would, without being counted', (t) => {
  const bus = new PortBus(() => t.fail());
  bus.add(POST_CODE_PORT, 1, new OpenBus());
  bus.add(ALTERNATE_DELAY_PORT, 1, new OpenBus());
  bus.write(0x80, 1, 0);
  t.is(bus.read(0x80, 1), 0xff);
  t.is(bus.read(0xed, 1), 0xff);
  t.is(new OpenBus().read(0, 2), 0xffff);
  t.is(new OpenBus().read(0, 4), 0xffff_ffff);
  t.is(bus.unclaimed.reads + bus.unclaimed.writes, 0);
});
