import test from 'ava';
import fc from 'fast-check';
import {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
} from '../../../devices/virtio/constants.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { Driver, TRANSPORTS, type TransportName } from '../../helpers/virtio/driver.ts';
import { EchoDevice } from '../../helpers/virtio/echo-device.ts';

const RUNNING =
  VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
const VERSION_1 = 1n << BigInt(VIRTIO_F_VERSION_1);
const RING_RESET = [VIRTIO_F_RING_RESET, VIRTIO_RING_F_EVENT_IDX];

function setUp(transport: TransportName) {
  const device = new EchoDevice();
  const driver = new Driver(transport, device, GuestMemory.plain(1 << 20));
  return { device, driver, registers: driver.registers, core: driver.core };
}

/** Makes one echo request available. @returns a function that reads the answer */
function ask(driver: Driver, text: string, queue = 0): () => string {
  const bytes = new TextEncoder().encode(text);
  const question = driver.allocate(bytes.length);
  const answer = driver.allocate(bytes.length);
  driver.memory.write(question, bytes);
  driver.ring(queue).add([
    { address: question, length: bytes.length, writable: false },
    { address: answer, length: bytes.length, writable: true },
  ]);
  return () => new TextDecoder().decode(driver.memory.read(answer, bytes.length));
}

for (const transport of TRANSPORTS) {
  test(`${transport}: a driver finds the device, agrees on features, and talks with it`, (t) => {
    const { device, driver, registers } = setUp(transport);
    t.is(registers.deviceType, 42);
    t.is(registers.status, 0);
    t.is(registers.queueCount, 2);
    t.is(registers.maxSize(0), 64);
    t.is(registers.maxSize(1), 16);
    t.is(registers.maxSize(2), 0);
    for (const bit of [
      5,
      VIRTIO_RING_F_INDIRECT_DESC,
      VIRTIO_RING_F_EVENT_IDX,
      VIRTIO_F_VERSION_1,
      VIRTIO_F_RING_RESET,
    ])
      t.true((driver.features & (1n << BigInt(bit))) !== 0n, `bit ${bit}`);
    t.is(registers.readFeatures(2), 0);
    driver.start();
    t.is(registers.status, RUNNING);
    t.is(device.host?.features, VERSION_1 | (1n << 28n) | (1n << 29n));
    const answer = ask(driver, 'hello');
    registers.notify(0);
    t.is(answer(), 'hello');
    t.deepEqual(
      driver
        .ring()
        .collect()
        .map(({ length }) => length),
      [5],
    );
    t.deepEqual(registers.takeInterrupts(), { queue: true, config: false });
    t.deepEqual(registers.takeInterrupts(), { queue: false, config: false });
    t.deepEqual(device.notified, [0]);
  });

  test(`${transport}: a polled ring needs no notification`, (t) => {
    const { device, driver, core } = setUp(transport);
    t.false(core.poll());
    driver.start();
    t.false(core.poll());
    const answer = ask(driver, 'second', 1);
    t.true(core.poll());
    t.false(core.poll());
    t.is(answer(), 'second');
    t.deepEqual(device.notified, [1]);
  });

  test(`${transport}: before it sleeps it asks for notifications, and sees what came before`, (t) => {
    const { driver, core } = setUp(transport);
    driver.start();
    core.ignore();
    t.false(core.listen());
    const ring = driver.ring();
    ring.offer(ring.prepare([{ address: 0x9000, length: 1, writable: false }]));
    t.true(ring.announce());
    t.true(core.listen());
  });

  test(`${transport}: a queue that is not watched is neither polled nor listened to`, (t) => {
    const { device, driver, core, registers } = setUp(transport);
    driver.start();
    const queue = core.queues[0]!;
    queue.watched = false;
    ask(driver, 'x');
    t.false(core.poll());
    t.false(core.listen());
    registers.notify(0);
    t.deepEqual(device.notified, []);
    queue.watched = true;
    t.true(core.poll());
  });

  test(`${transport}: features that were not offered are not agreed on`, (t) => {
    const { driver, registers, device } = setUp(transport);
    registers.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    t.false(driver.accept(VERSION_1 | (1n << 7n)));
    t.false(driver.accept(1n << 5n), 'nor without VERSION_1');
    registers.status |= VIRTIO_CONFIG_S_DRIVER_OK;
    t.is(registers.status & VIRTIO_CONFIG_S_DRIVER_OK, 0);
    t.is(device.host, undefined);
    t.true(driver.accept(VERSION_1));
    // Too late now: what was agreed on stays.
    registers.writeFeatures(0, 1 << 5);
    registers.status |= VIRTIO_CONFIG_S_DRIVER_OK;
    t.is(device.host?.features, VERSION_1);
  });

  test(`${transport}: bits of the status are added and never taken away but by a reset`, (t) => {
    const { driver, registers, device } = setUp(transport);
    driver.start();
    registers.status = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    t.is(registers.status, RUNNING);
    registers.status = VIRTIO_CONFIG_S_NEEDS_RESET;
    t.is(registers.status, RUNNING, 'the driver cannot set NEEDS_RESET');
    registers.status = 0;
    t.is(registers.status, 0);
    t.is(device.resets, 1);
    registers.status = 0;
    t.is(device.resets, 1);
  });

  test(`${transport}: notifications are ignored before DRIVER_OK, after a reset, and for queues that are not there`, (t) => {
    const { device, driver, registers } = setUp(transport);
    registers.notify(0);
    registers.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    driver.accept(VERSION_1);
    driver.setUpQueues();
    ask(driver, 'early');
    registers.notify(0);
    t.deepEqual(device.notified, []);
    registers.status |= VIRTIO_CONFIG_S_DRIVER_OK;
    registers.notify(2);
    registers.notify(0xffff);
    t.deepEqual(device.notified, []);
    registers.status = 0;
    registers.notify(0);
    t.deepEqual(device.notified, []);
  });

  test(`${transport}: a queue cannot be enabled before features are agreed on, nor moved once it is`, (t) => {
    const { driver, registers } = setUp(transport);
    driver.setUpQueue(0);
    t.false(registers.isEnabled(0));
    driver.start();
    t.true(registers.isEnabled(0));
    registers.placeQueue(0, { size: 4, descriptors: 0x10, available: 0x20, used: 0x30 });
    registers.enableQueue(0);
    const answer = ask(driver, 'unmoved');
    registers.notify(0);
    t.is(answer(), 'unmoved');
  });

  test(`${transport}: a queue that cannot be is a fault`, (t) => {
    for (const place of [
      { size: 3, descriptors: 0x1000, available: 0x2000, used: 0x3000 },
      { size: 8, descriptors: 0x1008, available: 0x2000, used: 0x3000 },
      { size: 8, descriptors: 2 ** 40, available: 0x2000, used: 0x3000 },
    ]) {
      const { driver, registers, device } = setUp(transport);
      registers.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
      driver.accept(VERSION_1);
      registers.placeQueue(0, place);
      registers.enableQueue(0);
      t.false(registers.isEnabled(0));
      t.is(registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET);
      registers.status |= VIRTIO_CONFIG_S_DRIVER_OK;
      t.is(device.host, undefined);
      registers.status = 0;
      t.is(device.resets, 0, 'it had not been activated');
    }
  });

  test(`${transport}: a fault stops that device, is told, and a reset makes it work again`, (t) => {
    const { device, driver, registers, core } = setUp(transport);
    driver.start();
    const good = ask(driver, 'lost', 1);
    driver.ring().add([{ address: 2 ** 40, length: 1, writable: false }]);
    registers.notify(0);
    t.is(registers.status, RUNNING | VIRTIO_CONFIG_S_NEEDS_RESET);
    t.deepEqual(registers.takeInterrupts(), { queue: false, config: true });
    t.is(core.faults.count, 1);
    t.deepEqual(driver.warnings, [
      "echo: the guest's driver is at fault, the device needs a reset: buffer outside memory",
    ]);
    registers.notify(1);
    t.false(core.poll());
    t.false(core.listen());
    t.not(good(), 'lost');
    t.deepEqual(device.notified, [0]);
    driver.start();
    t.is(registers.status, RUNNING);
    t.is(device.resets, 1);
    const answer = ask(driver, 'works');
    registers.notify(0);
    t.is(answer(), 'works');
  });

  test(`${transport}: a fault that the device finds is one like any other`, (t) => {
    const { driver, registers, core } = setUp(transport);
    driver.start();
    driver.ring().add([{ address: 0x8000, length: 1, writable: true }]);
    registers.notify(0);
    t.is(registers.status, RUNNING | VIRTIO_CONFIG_S_NEEDS_RESET);
    t.is(core.faults.count, 1);
  });

  test(`${transport}: configuration: read, write, generation, interrupt`, (t) => {
    const { device, driver, registers } = setUp(transport);
    device.config.view.setUint32(4, 0x1234_5678, true);
    t.is(registers.readConfig(4, 4), 0x1234_5678);
    t.is(registers.readConfig(4, 2), 0x5678);
    t.is(registers.readConfig(6, 1), 0x34);
    t.is(registers.readConfig(12, 4), 0, 'nothing beyond its end');
    device.config.view.setUint16(10, 0xabcd, true);
    t.is(registers.readConfig(10, 4), 0xabcd, 'nor across it');
    registers.writeConfig(0, 4, 0xdead_beef);
    t.is(device.config.view.getUint32(0, true), 0xdead_beef);
    driver.start();
    const { generation } = registers;
    t.is(registers.generation, generation);
    device.host?.configChanged();
    t.not(registers.generation, generation);
    t.deepEqual(registers.takeInterrupts(), { queue: false, config: true });
  });

  test(`${transport}: one queue is reset and used again elsewhere`, (t) => {
    const { device, driver, registers } = setUp(transport);
    driver.start({ features: RING_RESET });
    ask(driver, 'forgotten');
    registers.resetQueue(0);
    t.deepEqual(device.resetQueues, [0]);
    t.false(registers.isEnabled(0));
    registers.notify(0);
    t.deepEqual(device.notified, []);
    driver.setUpQueue(0, 32);
    t.true(registers.isEnabled(0));
    const answer = ask(driver, 'moved');
    registers.notify(0);
    t.is(answer(), 'moved');
    const other = ask(driver, 'the other', 1);
    registers.notify(1);
    t.is(other(), 'the other');
    registers.resetQueue(7);
    t.deepEqual(device.resetQueues, [0]);
  });

  test(`${transport}: no queue is reset by a driver that has not agreed to that`, (t) => {
    const { device, driver, registers } = setUp(transport);
    driver.start();
    registers.resetQueue(0);
    t.true(registers.isEnabled(0));
    t.deepEqual(device.resetQueues, []);
  });

  test(`${transport}: reset at any time, and up again`, (t) => {
    const { driver, registers } = setUp(transport);
    for (let i = 0; i < 3; i++) {
      driver.start({ queueSize: 8 << i });
      const answer = ask(driver, `life ${i}`);
      if (i === 1) continue;
      registers.notify(0);
      t.is(answer(), `life ${i}`);
    }
  });

  test(`${transport}: registers in any order do no harm`, (t) => {
    const access = fc.record({
      write: fc.boolean(),
      offset: fc.oneof(
        fc.integer({ min: 0, max: 0x110 }),
        fc.constantFrom(0x30, 0x38, 0x44, 0x70, 0x14, 0x16, 0x1c, 0x3a),
      ),
      size: fc.constantFrom<1 | 2 | 4>(1, 2, 4),
      value: fc.oneof(fc.nat({ max: 16 }), fc.constantFrom(0xffff, 0xffff_ffff, 0x4000), fc.nat({ max: 0xffff_ffff })),
    });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
        const { driver, registers, core } = setUp(transport);
        const target =
          transport === 'mmio' ? (registers as unknown as { window: Window }).window : pciWindow(registers);
        for (const { write, offset, size, value } of accesses) {
          if (write) target.write(offset, size, size === 4 ? value : value % 2 ** (8 * size));
          else t.true(Number.isInteger(target.read(offset, size)));
          core.poll();
          core.listen();
        }
        driver.start();
        const answer = ask(driver, 'alive');
        registers.notify(0);
        t.is(answer(), 'alive');
      }),
      { numRuns: 300 },
    );
  });
}

interface Window {
  read(offset: number, size: 1 | 2 | 4): number;
  write(offset: number, size: 1 | 2 | 4, value: number): void;
}

/** BAR 0, all pages of it. */
function pciWindow(registers: unknown): Window {
  const { function: pci } = registers as { function: Window };
  return {
    read: (offset, size) => pci.read(((offset & 7) << 12) | (offset >> 3), size),
    write: (offset, size, value) => {
      pci.write(offset, size, value);
      pci.write(((offset & 7) << 12) | (offset >> 3), size, value);
    },
  };
}
