import test from 'ava';
import fc from 'fast-check';
import { PortBus } from '../../devices/port-bus.ts';
import { Rtc } from '../../devices/rtc.ts';

const REG_B_SET = 0x80;
const REG_B_BINARY = 0x04;
const REG_B_24H = 0x02;

class Bench {
  now: number;
  readonly bus = new PortBus();

  constructor(now: string) {
    this.now = Date.parse(now);
    const rtc = new Rtc(() => this.now);
    this.bus.add(0x70, 1, rtc.index, 1);
    this.bus.add(0x71, 1, rtc.data, 1);
  }

  in(register: number): number {
    this.bus.write(0x70, 1, register);
    return this.bus.read(0x71, 1);
  }

  out(register: number, value: number): void {
    this.bus.write(0x70, 1, register);
    this.bus.write(0x71, 1, value);
  }

  /** Linux's `mc146818_get_time`, for BCD and 24 hours. */
  get time(): string {
    const bcd = (register: number): string => this.in(register).toString(16).padStart(2, '0');
    return `${bcd(0x32)}${bcd(9)}-${bcd(8)}-${bcd(7)}T${bcd(4)}:${bcd(2)}:${bcd(0)}`;
  }

  /** Linux's `mc146818_set_time`. */
  set(text: string): void {
    const part = (at: number): number => Number.parseInt(text.slice(at, at + 2), 16);
    const control = this.in(11);
    this.out(11, control | REG_B_SET);
    const divider = this.in(10);
    this.out(10, divider | 0x70);
    for (const [register, at] of [
      [9, 2],
      [8, 5],
      [7, 8],
      [4, 11],
      [2, 14],
      [0, 17],
      [0x32, 0],
    ] as const) {
      this.out(register, part(at));
    }
    this.out(11, control);
    this.out(10, divider);
  }
}

test("the time is the host's, in UTC", (t) => {
  const bench = new Bench('2026-11-22T13:45:59Z');
  t.is(bench.time, '2026-11-22T13:45:59');
  bench.now += 1000;
  t.is(bench.time, '2026-11-22T13:46:00');
  t.is(bench.in(6), 1, 'Sunday');
});

test('a reader never waits: no update is in progress, the time is valid, the mode is 24 hours BCD', (t) => {
  const bench = new Bench('2026-01-01T00:00:00Z');
  t.is(bench.in(10) & 0x80, 0);
  t.is(bench.in(13), 0x80);
  t.is(bench.in(11), REG_B_24H);
  t.is(bench.in(12), 0);
  t.is(bench.in(10 | 0x80) & 0x80, 0, 'bit 7 of the index is the NMI mask');
});

test('a guest that sets the time moves its own clock', (t) => {
  const bench = new Bench('2026-01-31T10:00:00Z');
  bench.set('1999-02-28T23:59:58');
  t.is(bench.time, '1999-02-28T23:59:58');
  bench.now += 3000;
  t.is(bench.time, '1999-03-01T00:00:01');
});

test('the clock stands while it is being set', (t) => {
  const bench = new Bench('2026-01-31T10:00:00Z');
  bench.out(11, REG_B_24H | REG_B_SET);
  bench.now += 60_000;
  t.is(bench.time, '2026-01-31T10:00:00');
  bench.out(11, REG_B_24H);
  t.is(bench.time, '2026-01-31T10:00:00');
});

test('binary, and twelve hours', (t) => {
  const bench = new Bench('2026-12-31T00:59:59Z');
  bench.out(11, REG_B_BINARY | REG_B_24H);
  t.deepEqual([bench.in(8), bench.in(7), bench.in(2)], [12, 31, 59]);
  bench.out(11, 0);
  t.is(bench.in(4), 0x12);
  bench.now += 12 * 3_600_000;
  t.is(bench.in(4), 0x92);
  bench.out(4, 0x81);
  t.is(bench.in(4), 0x81);
  bench.out(11, REG_B_24H);
  t.is(bench.in(4), 0x13);
});

test('the rest is memory', (t) => {
  const bench = new Bench('2026-01-01T00:00:00Z');
  bench.out(0x0f, 0x0a);
  bench.out(0x7f, 0x5a);
  t.is(bench.in(0x0f), 0x0a);
  t.is(bench.in(0x7f), 0x5a);
});

test('whatever is written where, bytes come out', (t) => {
  const step = fc.record({ register: fc.nat(0xff), value: fc.nat(0xff), write: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const bench = new Bench('2026-01-01T00:00:00Z');
      for (const { register, value, write } of steps) {
        if (write) bench.out(register, value);
        const read = bench.in(register);
        t.true(Number.isInteger(read) && read >= 0 && read <= 0xff);
      }
    }),
  );
});
