import test from 'ava';
import fc from 'fast-check';
import { BalloonDevice, type BalloonOptions } from '../../../devices/virtio/balloon/balloon.ts';
import * as balloon from '../../../devices/virtio/balloon/constants.ts';
import { HugePages } from '../../../devices/virtio/balloon/huge-pages.ts';
import type { PageReleaser } from '../../../devices/virtio/balloon/page-releaser.ts';
import { STATISTIC_NAMES } from '../../../devices/virtio/balloon/statistics.ts';
import { VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_ID_BALLOON } from '../../../devices/virtio/constants.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { compareWithC, constantsOf } from '../../helpers/c-layout.ts';
import { Driver, TRANSPORTS, type TransportName } from '../../helpers/virtio/driver.ts';

const PAGE = 4096;
const MIB = 1 << 20;
/** Where guest memory begins in its buffer: not at 0, as on a real host. */
const BASE = 3 * PAGE + 64;

/** Notes what it was asked for, once it is to be carried out. */
class NotingReleaser implements PageReleaser {
  readonly pageSize: number;
  readonly ranges: [start: number, length: number][] = [];
  failures = 0;
  #begun: [number, number][] = [];

  constructor(pageSize = PAGE) {
    this.pageSize = pageSize;
  }

  releasePages(offset: number, length: number): void {
    this.#begun.push([offset - BASE, length]);
  }

  finish(): number {
    this.ranges.push(...this.#begun);
    this.#begun = [];
    const { failures } = this;
    this.failures = 0;
    return failures;
  }

  /** Ranges in pages of 4 KiB, which are then forgotten. */
  take(): [page: number, count: number][] {
    return this.ranges.splice(0).map(([start, length]) => [start / PAGE, length / PAGE]);
  }
}

const ALL_FEATURES = [
  balloon.VIRTIO_BALLOON_F_STATS_VQ,
  balloon.VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  balloon.VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  balloon.VIRTIO_BALLOON_F_REPORTING,
];
const ALL = { deflateOnOom: true, statistics: true, hinting: true, reporting: true };
const NONE = { deflateOnOom: false, statistics: false, hinting: false, reporting: false };

function setUp(
  transport: TransportName,
  options: Partial<BalloonOptions> & { pageSize?: number; features?: number[]; memorySize?: number } = {},
) {
  const size = options.memorySize ?? 8 * MIB;
  const memory = new GuestMemory(new SharedArrayBuffer(BASE + size), BASE, size);
  const releaser = new NotingReleaser(options.pageSize);
  const device = new BalloonDevice(releaser, { amount: 0, ...ALL, ...options });
  const driver = new Driver(transport, device, memory);
  driver.start({ features: [28, 29, 40, ...(options.features ?? ALL_FEATURES)] });
  return { memory, releaser, device, driver };
}

/** A request of pages, as Linux makes it. */
function pages(driver: Driver, queue: number, ...frames: number[]): number {
  const address = driver.allocate(4 * frames.length, 4);
  driver.memory.write(address, new Uint8Array(Uint32Array.from(frames).buffer));
  return driver.ring(queue).add([{ address, length: 4 * frames.length, writable: false }]);
}

function command(driver: Driver, queue: number, value: number): void {
  const address = driver.allocate(4, 4);
  driver.memory.write(address, new Uint8Array(Uint32Array.of(value).buffer));
  driver.ring(queue).add([{ address, length: 4, writable: false }]);
}

function statistics(driver: Driver, values: [tag: number, value: bigint][]): number {
  const bytes = new Uint8Array(balloon.STAT_SIZE * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, [tag, value]] of values.entries()) {
    view.setUint16(balloon.STAT_SIZE * i, tag, true);
    view.setBigUint64(balloon.STAT_SIZE * i + 2, value, true);
  }
  const address = driver.allocate(bytes.length);
  driver.memory.write(address, bytes);
  return driver.ring(2).add([{ address, length: bytes.length, writable: false }]);
}

test('numbers and structures are those of Linux', (t) => {
  const constants: Record<string, number> = constantsOf(balloon);
  delete constants.STAT_SIZE;
  constants['sizeof(struct virtio_balloon_stat)'] = balloon.STAT_SIZE;
  for (const [name, offset] of Object.entries(balloon.BalloonConfigSpace)) {
    if (name !== 'SIZE') constants[`offsetof(struct virtio_balloon_config, ${name})`] = offset;
  }
  constants['offsetof(struct virtio_balloon_config, poison_val)'] = balloon.BalloonConfigSpace.SIZE;
  for (const [tag, macro] of ['SWAP_IN', 'SWAP_OUT', 'MAJFLT', 'MINFLT', 'MEMFREE', 'MEMTOT'].entries()) {
    constants[`VIRTIO_BALLOON_S_${macro}`] = tag;
  }
  compareWithC(t, { headers: ['linux/virtio_balloon.h'], constants });
  t.is(STATISTIC_NAMES.indexOf('available_memory'), 6);
  t.is(STATISTIC_NAMES.length, 16);
});

for (const transport of TRANSPORTS) {
  test(`${transport}: the guest is told how much to give, and tells how much it gave`, (t) => {
    const { driver, device } = setUp(transport, { amount: 64 * MIB });
    const { registers } = driver;
    t.is(registers.deviceType, VIRTIO_ID_BALLOON);
    t.is(registers.readConfig(0, 4), (64 * MIB) / PAGE);
    t.is(device.target, 64 * MIB);
    const { generation } = registers;
    device.setTarget(32 * MIB);
    t.not(registers.generation, generation);
    t.deepEqual(registers.takeInterrupts(), { queue: false, config: true });
    t.is(registers.readConfig(0, 4), (32 * MIB) / PAGE);
    registers.writeConfig(4, 4, 1000);
    t.is(device.actual, 1000 * PAGE);
    registers.writeConfig(6, 2, 1);
    registers.writeConfig(4, 1, 7);
    t.is(device.actual, (0x1_0000 + (1000 & 0xff00) + 7) * PAGE);
    registers.writeConfig(0, 4, 5);
    registers.writeConfig(8, 4, 5);
    t.is(device.target, 32 * MIB, 'the rest is not the guest’s to write');
    t.is(registers.readConfig(8, 4), 0);
    registers.status = 0;
    t.is(device.actual, 0);
    t.is(device.target, 32 * MIB);
  });

  test(`${transport}: what is inflated goes to the host in ranges, before the guest hears of it`, (t) => {
    const { driver, releaser, device } = setUp(transport);
    const up = pages(driver, 0, 100, 101, 102, 103);
    const on = pages(driver, 0, 104, 105);
    const down = pages(driver, 0, 250, 249, 248, 700);
    let heardBefore = -1;
    const finish = releaser.finish.bind(releaser);
    releaser.finish = () => {
      heardBefore = driver.ring(0).collect().length;
      return finish();
    };
    driver.registers.notify(0);
    t.is(heardBefore, 0);
    t.deepEqual(releaser.take(), [
      [100, 6],
      [248, 3],
      [700, 1],
    ]);
    t.deepEqual(
      driver.ring(0).collect(),
      [up, on, down].map((head) => ({ head, length: 0 })),
    );
    t.true(driver.registers.takeInterrupts().queue);
    t.is(device.metrics.inflate_count, 1);
    const back = pages(driver, 1, 100, 101);
    driver.registers.notify(1);
    t.deepEqual(driver.ring(1).collect(), [{ head: back, length: 0 }]);
    t.deepEqual(releaser.take(), []);
    t.is(device.metrics.deflate_count, 1);
    t.is(device.metrics.event_fails, 0);
  });

  test(`${transport}: pages that are not RAM are counted, and the rest is done`, (t) => {
    const { driver, releaser, device } = setUp(transport);
    pages(driver, 0, 5, 8 * 256, 0xffff_ffff, 6, 7 * 256 + 255, 0xd_0000);
    driver.core.poll();
    t.deepEqual(releaser.take(), [
      [5, 2],
      [7 * 256 + 255, 1],
    ]);
    t.is(device.metrics.event_fails, 3);
    releaser.failures = 2;
    pages(driver, 0, 9);
    driver.core.poll();
    t.is(device.metrics.event_fails, 5);
    t.is(driver.ring(0).collect().length, 2);
    t.is(driver.registers.status & VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_DRIVER_OK);
  });

  test(`${transport}: statistics are asked for by giving their buffer back`, (t) => {
    const { driver, device } = setUp(transport);
    device.pollStatistics();
    t.deepEqual(device.statistics, {});
    const first = statistics(driver, [
      [4, 1000n],
      [5, 2n ** 40n],
    ]);
    driver.registers.notify(2);
    t.deepEqual(driver.ring(2).collect(), [], 'it is kept');
    t.false(driver.registers.takeInterrupts().queue);
    t.deepEqual(device.statistics, { free_memory: 1000, total_memory: 2 ** 40 });
    device.pollStatistics();
    t.deepEqual(driver.ring(2).collect(), [{ head: first, length: 0 }]);
    t.true(driver.registers.takeInterrupts().queue);
    device.pollStatistics();
    t.false(driver.registers.takeInterrupts().queue, 'the guest owes us some');
    statistics(driver, [
      [4, 2000n],
      [15, 3n],
      [99, 1n],
    ]);
    driver.core.poll();
    t.deepEqual(device.statistics, { free_memory: 2000, total_memory: 2 ** 40, direct_reclaim: 3 });
    t.is(device.metrics.stats_updates_count, 2);
    t.is(device.metrics.stats_update_fails, 1);
    const another = statistics(driver, [[0, 1n]]);
    driver.core.poll();
    t.is(driver.ring(2).collect().length, 1, 'one is kept, not two');
    device.pollStatistics();
    t.deepEqual(driver.ring(2).collect(), [{ head: another, length: 0 }]);
  });

  test(`${transport}: statistics after a reset of device or queue`, (t) => {
    const { driver, device } = setUp(transport);
    statistics(driver, [[4, 1000n]]);
    driver.core.poll();
    driver.registers.resetQueue(2);
    device.pollStatistics();
    driver.setUpQueue(2);
    const head = statistics(driver, [[4, 7n]]);
    driver.core.poll();
    device.pollStatistics();
    t.deepEqual(driver.ring(2).collect(), [{ head, length: 0 }]);
    statistics(driver, [[4, 7n]]);
    driver.core.poll();
    driver.start({ features: ALL_FEATURES });
    t.deepEqual(device.statistics, {});
    device.pollStatistics();
    t.deepEqual(driver.ring(2).collect(), []);
  });

  test(`${transport}: reported free pages go to the host, whole pages only`, (t) => {
    const { driver, releaser, device } = setUp(transport);
    const head = driver.ring(4).add([
      { address: 0x20_0000, length: 0x20_0000, writable: true },
      { address: 0x50_0000, length: 0x4000, writable: true },
      { address: 0x60_0001, length: 0x2fff, writable: true },
      { address: 0x70_0001, length: 0x1ffe, writable: true },
    ]);
    driver.registers.notify(4);
    t.deepEqual(driver.ring(4).collect(), [{ head, length: 0 }]);
    t.deepEqual(releaser.take(), [
      [0x200, 0x200],
      [0x500, 4],
      [0x601, 2],
    ]);
    t.is(device.metrics.free_page_report_count, 1);
    t.is(device.metrics.free_page_report_freed, 0x20_0000 + 0x4000 + 0x2000);
    releaser.failures = 1;
    driver.ring(4).add([{ address: 0x20_0000, length: PAGE, writable: true }]);
    driver.core.poll();
    t.is(device.metrics.free_page_report_fails, 1);
  });

  test(`${transport}: a run of hinting, acknowledged at its end`, (t) => {
    const { driver, releaser, device } = setUp(transport);
    const { registers } = driver;
    const config = () => registers.readConfig(8, 4);
    t.deepEqual(device.hintingStatus, { hostCommand: 0, guestCommand: undefined });
    t.true(device.startHinting(true));
    t.true(registers.takeInterrupts().config);
    t.is(config(), 2);
    command(driver, 3, 2);
    driver.ring(3).add([{ address: 0x40_0000, length: 0x10_0000, writable: true }]);
    driver.ring(3).add([{ address: 0x50_0000, length: 0x10_0000, writable: true }]);
    driver.core.poll();
    t.deepEqual(releaser.take(), [[0x400, 0x200]]);
    t.deepEqual(device.hintingStatus, { hostCommand: 2, guestCommand: 2 });
    t.is(driver.ring(3).collect().length, 3);
    command(driver, 3, 0);
    driver.core.poll();
    t.is(config(), 1, 'done: the guest may use them');
    t.true(registers.takeInterrupts().config);
    driver.ring(3).add([{ address: 0x40_0000, length: 0x10_0000, writable: true }]);
    driver.core.poll();
    t.deepEqual(releaser.take(), [], 'no run, no hints');
    t.is(device.metrics.free_page_hint_count, 2);
    t.is(device.metrics.free_page_hint_freed, 0x20_0000);
  });

  test(`${transport}: hints of an earlier run are not taken`, (t) => {
    const { driver, releaser, device } = setUp(transport);
    device.startHinting(false);
    command(driver, 3, 2);
    driver.core.poll();
    device.startHinting(false);
    t.is(driver.registers.readConfig(8, 4), 3);
    driver.ring(3).add([{ address: 0x40_0000, length: PAGE, writable: true }]);
    driver.core.poll();
    t.deepEqual(releaser.take(), []);
    command(driver, 3, 3);
    driver.ring(3).add([{ address: 0x40_0000, length: PAGE, writable: true }]);
    command(driver, 3, 0);
    driver.core.poll();
    t.deepEqual(releaser.take(), [[0x400, 1]]);
    t.is(driver.registers.readConfig(8, 4), 3, 'not acknowledged before the host says so');
    device.stopHinting();
    t.is(driver.registers.readConfig(8, 4), 1);
    driver.registers.status = 0;
    t.deepEqual(device.hintingStatus, { hostCommand: 0, guestCommand: undefined });
    t.false(device.startHinting(true), 'there is no driver');
  });

  test(`${transport}: queues of features in any numbering`, (t) => {
    // Linux leaves no gaps: with reporting alone, its queue is the third.
    const compact = setUp(transport, { ...NONE, reporting: true });
    t.is(compact.driver.registers.queueCount, 5);
    const { registers } = compact.driver;
    registers.status = 0;
    registers.status = 3;
    compact.driver.accept((1n << 32n) | (1n << 5n));
    compact.driver.rings = [];
    for (const queue of [0, 1, 2]) compact.driver.setUpQueue(queue);
    registers.status |= VIRTIO_CONFIG_S_DRIVER_OK;
    compact.driver.ring(2).add([{ address: 0x40_0000, length: PAGE, writable: true }]);
    compact.driver.core.poll();
    t.deepEqual(compact.releaser.take(), [[0x400, 1]]);
    // The specification gives it the fifth.
    registers.status = 0;
    registers.status = 3;
    compact.driver.accept((1n << 32n) | (1n << 5n));
    for (const queue of [0, 1, 4]) compact.driver.setUpQueue(queue);
    registers.status |= VIRTIO_CONFIG_S_DRIVER_OK;
    compact.driver.ring(4).add([{ address: 0x40_0000, length: PAGE, writable: true }]);
    compact.driver.core.poll();
    t.deepEqual(compact.releaser.take(), [[0x400, 1]]);
  });

  test(`${transport}: a queue whose feature was not accepted is left alone`, (t) => {
    const { driver, releaser, device } = setUp(transport, { features: [] });
    t.is(driver.registers.queueCount, 5);
    driver.ring(4).add([{ address: 0x40_0000, length: PAGE, writable: true }]);
    statistics(driver, [[4, 1n]]);
    driver.core.poll();
    t.false(driver.core.poll(), 'nor polled for ever');
    t.deepEqual(releaser.take(), []);
    t.deepEqual(device.statistics, {});
    t.is(driver.ring(4).collect().length, 0);
  });

  test(`${transport}: huge pages go to the host when all of their pages are given up`, (t) => {
    const { driver, releaser, device } = setUp(transport, { pageSize: 2 * MIB });
    const frames = Array.from({ length: 512 }, (_, i) => 512 + i);
    pages(driver, 0, ...frames.slice(0, 511), 2000);
    driver.core.poll();
    t.deepEqual(releaser.take(), []);
    pages(driver, 1, 600);
    driver.core.poll();
    pages(driver, 0, 512, 1023);
    driver.core.poll();
    t.deepEqual(releaser.take(), [], 'one of them was taken back');
    pages(driver, 0, 600);
    driver.core.poll();
    t.deepEqual(releaser.take(), [[512, 512]]);
    pages(driver, 0, 600);
    driver.core.poll();
    t.deepEqual(releaser.take(), []);
    pages(driver, 1, 600, 0xffff_ffff);
    pages(driver, 0, 600);
    driver.core.poll();
    driver.core.poll();
    driver.ring(4).add([{ address: MIB, length: 4 * MIB, writable: true }]);
    driver.core.poll();
    t.deepEqual(releaser.take().at(-1), [512, 512], 'reports too: only what lies whole in them');
    t.is(device.metrics.event_fails, 1);
  });
}

test('features and queues are those that were asked for', (t) => {
  const count = (options: Partial<BalloonOptions>) => {
    const device = new BalloonDevice(new NotingReleaser(), { amount: 0, ...NONE, ...options });
    return [device.queueSizes.length, Number(device.features)];
  };
  t.deepEqual(count({}), [2, 0]);
  t.deepEqual(count({ deflateOnOom: true }), [2, 4]);
  t.deepEqual(count({ statistics: true }), [3, 2]);
  t.deepEqual(count({ hinting: true }), [4, 8]);
  t.deepEqual(count(ALL), [5, 2 + 4 + 8 + 32]);
});

test('a request of more pages than any driver makes leaves time for others', (t) => {
  const { driver, releaser, device } = setUp('mmio');
  const address = driver.allocate(4 * 40_000);
  const { view } = driver.memory;
  const at = driver.memory.offsetOf(address, 4 * 40_000);
  for (let i = 0; i < 40_000; i++) view.setUint32(at + 4 * i, 2047 - (i % 1024), true);
  for (let i = 0; i < 4; i++) driver.ring(0).add([{ address, length: 4 * 40_000, writable: false }]);
  driver.registers.notify(0);
  t.is(driver.ring(0).collect().length, 1);
  while (driver.core.poll());
  t.is(driver.ring(0).collect().length, 3);
  t.is(device.metrics.inflate_count, 4);
  t.true(releaser.take().every(([page, pages]) => page === 1024 && pages === 1024));
});

test('huge pages: as many as a model finds complete', (t) => {
  const step = fc.record({ add: fc.boolean(), from: fc.nat({ max: 1535 }), count: fc.constantFrom(1, 3, 512) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const pages = new HugePages(1536);
      const model = new Set<number>();
      for (const { add, from, count } of steps) {
        for (let page = from; page < Math.min(1536, from + count); page++) {
          const before = model.has(page);
          if (add) model.add(page);
          else model.delete(page);
          if (!add) {
            pages.remove(page);
            continue;
          }
          const first = page - (page % 512);
          const complete = !before && Array.from({ length: 512 }, (_, i) => first + i).every((each) => model.has(each));
          t.is(pages.add(page), complete);
        }
      }
    }),
    { numRuns: 50 },
  );
});

test('any requests on any queue: only RAM in whole pages goes to the host, and the device works after a reset', (t) => {
  const buffer = fc.record({
    address: fc.oneof(fc.nat({ max: 8 * MIB }), fc.constantFrom(2 ** 40, 0x40_0000, 0x40_0800)),
    length: fc.oneof(fc.nat({ max: 70_000 }), fc.constantFrom(4, 10, PAGE, 0xffff_ffff, 8 * MIB)),
    writable: fc.boolean(),
  });
  const action = fc.oneof(
    fc.record({ queue: fc.nat({ max: 4 }), buffers: fc.array(buffer, { minLength: 1, maxLength: 3 }) }),
    fc.constantFrom('statistics', 'hint', 'stop', 'reset queue'),
    fc.record({ offset: fc.nat({ max: 20 }), value: fc.nat({ max: 0xffff_ffff }) }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 20 }), fc.constantFrom(PAGE, 2 * MIB), (actions, pageSize) => {
      const { driver, releaser, device, memory } = setUp('mmio', { pageSize });
      for (const each of actions) {
        if (each === 'statistics') device.pollStatistics();
        else if (each === 'hint') device.startHinting(true);
        else if (each === 'stop') device.stopHinting();
        else if (each === 'reset queue') driver.registers.resetQueue(2);
        else if ('offset' in each) driver.registers.writeConfig(each.offset, 4, each.value);
        else if (driver.ring(each.queue).freeDescriptors > 4) driver.ring(each.queue).add(each.buffers);
        for (let turn = 0; turn < 4; turn++) driver.core.poll();
      }
      for (const [start, length] of releaser.ranges) {
        t.true(start >= 0 && length > 0 && start + length <= memory.size);
        t.is(start % pageSize, 0);
        t.is(length % pageSize, 0);
      }
      releaser.take();
      driver.start({ features: ALL_FEATURES });
      driver.ring(4).add([{ address: 2 * MIB, length: 2 * MIB, writable: true }]);
      driver.core.poll();
      t.deepEqual(releaser.take(), [[512, 512]]);
    }),
    { numRuns: 300 },
  );
});
