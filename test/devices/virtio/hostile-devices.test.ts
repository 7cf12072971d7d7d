import test from 'ava';
import {
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from '../../../devices/virtio/constants.ts';
import { Fault, faultText } from '../../../devices/virtio/faults.ts';
import type { QueuePlace } from '../../../devices/virtio/queue.ts';
import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { BLOCK_FEATURES } from '../../helpers/virtio/block-driver.ts';
import { Driver, TRANSPORTS, type TransportName } from '../../helpers/virtio/driver.ts';
import { EchoDevice } from '../../helpers/virtio/echo-device.ts';
import { hostileConsole } from '../../helpers/virtio/hostile-console.ts';
import type { HostileDevice } from '../../helpers/virtio/hostile-device.ts';
import { HostileGuest } from '../../helpers/virtio/hostile-guest.ts';
import { hostileBalloon, hostileEntropy } from '../../helpers/virtio/hostile-memory.ts';
import { hostileNet } from '../../helpers/virtio/hostile-net.ts';
import { hostileVsock } from '../../helpers/virtio/hostile-vsock.ts';
import { type DriverRing, GuestAllocator } from '../../helpers/virtio/ring.ts';

// Everything that a hostile guest is known to try, against each queue of each device: it stops that device alone, is counted and told once,
// and the device works after a reset.

/** A device, who drives it, and how it shows that it works. */
interface Victim {
  readonly driver: Driver;
  readonly features: readonly number[];
  /** By queue: whether the driver gives the device buffers to write. */
  readonly writable: readonly boolean[];
  /** Makes the device want what is in its queues. */
  use(): void;
  /** Resets it, and throws where it does not work. */
  prove(): void;
}

const QUEUE_SIZE = 8;
/** No queue of any device is larger than what an indirect table of so many buffers holds. */
const TOO_MANY = 1200;
const DATA = 0x8000;
const TABLE = 0x1_0000;
const NEIGHBOUR = 0x3_0000;

const of = (create: (transport: TransportName) => HostileDevice) => (transport: TransportName) => {
  const device = create(transport);
  const { driver, features, writable } = device.subject;
  return { driver, features, writable, use: () => device.subject.use(), prove: () => device.prove() };
};

const DEVICES: Readonly<Record<string, (transport: TransportName) => Victim>> = {
  block: (transport) => {
    const guest = new HostileGuest(transport, { slow: false, readOnly: false });
    const prove = (): void => {
      guest.check();
      guest.proveAlive();
    };
    return { driver: guest.driver, features: BLOCK_FEATURES, writable: [false], use: () => {}, prove };
  },
  net: of(hostileNet),
  console: of(hostileConsole),
  vsock: of(hostileVsock),
  entropy: of(hostileEntropy),
  balloon: of(hostileBalloon),
};

interface Attack {
  readonly fault: Fault;
  /** The driver has agreed to no indirect descriptors. */
  readonly withoutIndirect?: boolean;
  act(ring: DriverRing, memory: GuestMemory, flags: number): void;
}

/** Descriptor 0 as given, made available. */
function one(descriptor: { address?: number; length?: number; flags?: number; next?: number }): Attack['act'] {
  return (ring, _memory, flags) => {
    const { address = DATA, length = 64, next = 0 } = descriptor;
    ring.writeDescriptor(ring.place.descriptors, { address, length, flags: flags | (descriptor.flags ?? 0), next });
    ring.offer(0);
    ring.announce();
  };
}

/** An indirect table whose entries all lead to the next, and its last to the first. */
function table(entries: number, descriptor: { flags?: number; length?: number } = {}): Attack['act'] {
  return (ring, _memory, flags) => {
    for (let i = 0; i < entries; i++) {
      const next = (i + 1) % entries;
      const own = flags | VRING_DESC_F_NEXT | (descriptor.flags ?? 0);
      ring.writeDescriptor(TABLE + 16 * i, { address: DATA, length: 1, flags: own, next });
    }
    const length = descriptor.length ?? 16 * entries;
    ring.writeDescriptor(ring.place.descriptors, { address: TABLE, length, flags: VRING_DESC_F_INDIRECT, next: 0 });
    ring.offer(0);
    ring.announce();
  };
}

const ATTACKS: Readonly<Record<string, Attack>> = {
  'a descriptor that leads to itself': { fault: Fault.ChainLength, act: one({ flags: VRING_DESC_F_NEXT, next: 0 }) },
  'descriptors that lead round in a ring': {
    fault: Fault.ChainLength,
    act: (ring, _memory, flags) => {
      for (let i = 0; i < QUEUE_SIZE; i++) {
        const chained = { address: DATA, length: 1, flags: flags | VRING_DESC_F_NEXT, next: (i + 1) % QUEUE_SIZE };
        ring.writeDescriptor(ring.place.descriptors + 16 * i, chained);
      }
      ring.offer(0);
      ring.announce();
    },
  },
  'an indirect table that leads round': { fault: Fault.ChainLength, act: table(2) },
  'a chain longer than the queue may be': { fault: Fault.ChainLength, act: table(TOO_MANY) },
  'a successor that does not exist': {
    fault: Fault.DescriptorNext,
    act: one({ flags: VRING_DESC_F_NEXT, next: QUEUE_SIZE }),
  },
  'a buffer outside memory': { fault: Fault.BufferAddress, act: one({ address: 0xd000_0000 }) },
  'a buffer across the end of memory': {
    fault: Fault.BufferAddress,
    act: (ring, memory, flags) => one({ address: memory.size - 32 })(ring, memory, flags),
  },
  'a buffer that wraps at 2⁶⁴': {
    fault: Fault.BufferAddress,
    act: one({ address: 0xffff_ffff * 0x1_0000_0000 + 0xffff_f000, length: 0x2000 }),
  },
  'a buffer of zero bytes': { fault: Fault.BufferLength, act: one({ length: 0 }) },
  'a readable buffer behind a writable one': {
    fault: Fault.BufferOrder,
    act: (ring) =>
      void ring.add([
        { address: DATA, length: 64, writable: true },
        { address: DATA, length: 64, writable: false },
      ]),
  },
  'avail->idx that jumps': {
    fault: Fault.AvailIndex,
    act: (ring) => ring.setAvailableIndex(QUEUE_SIZE + 1),
  },
  'avail->idx that goes back': { fault: Fault.AvailIndex, act: (ring) => ring.setAvailableIndex(0xffff) },
  'a head that does not exist': {
    fault: Fault.AvailEntry,
    act: (ring) => {
      ring.offer(QUEUE_SIZE);
      ring.announce();
    },
  },
  'an indirect descriptor that was not agreed on': {
    fault: Fault.IndirectFeature,
    withoutIndirect: true,
    act: table(1),
  },
  'an indirect descriptor with a successor': {
    fault: Fault.IndirectNext,
    act: one({ flags: VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, next: 1 }),
  },
  'an indirect table in an indirect table': {
    fault: Fault.IndirectNested,
    act: table(2, { flags: VRING_DESC_F_INDIRECT }),
  },
  'an indirect table of zero bytes': { fault: Fault.IndirectLength, act: table(1, { length: 0 }) },
  'an indirect table of a crooked length': { fault: Fault.IndirectLength, act: table(2, { length: 31 }) },
  'an indirect table outside memory': {
    fault: Fault.IndirectAddress,
    act: one({ address: 2 ** 40, length: 16, flags: VRING_DESC_F_INDIRECT }),
  },
};

const PLACES: Readonly<Record<string, { fault: Fault; place: (good: QueuePlace, memory: GuestMemory) => QueuePlace }>> =
  {
    'a queue whose size is no power of two': { fault: Fault.QueueSize, place: (good) => ({ ...good, size: 3 }) },
    'a queue larger than the device has': { fault: Fault.QueueSize, place: (good) => ({ ...good, size: 0x8000 }) },
    'descriptors that are not aligned': {
      fault: Fault.QueueAlignment,
      place: (good) => ({ ...good, descriptors: good.descriptors + 8 }),
    },
    'descriptors outside memory': {
      fault: Fault.QueueAddress,
      place: (good) => ({ ...good, descriptors: 0xd000_0000 }),
    },
    'an available ring that wraps at 2⁶⁴': {
      fault: Fault.QueueAddress,
      place: (good) => ({ ...good, available: 0xffff_ffff * 0x1_0000_0000 + 0xffff_f000 }),
    },
    'a used ring across the end of memory': {
      fault: Fault.QueueAddress,
      place: (good, memory) => ({ ...good, used: memory.size - 8 }),
    },
  };

/** Another device of the same guest, whose rings lie in the same memory. */
function neighbourOf(memory: GuestMemory): { driver: Driver; works: () => boolean } {
  const driver = new Driver('mmio', new EchoDevice(), memory);
  driver.allocator = new GuestAllocator(NEIGHBOUR);
  driver.start();
  const works = (): boolean => {
    const [question, answer] = [driver.allocate(4), driver.allocate(4)];
    memory.write(question, Uint8Array.of(1, 2, 3, 4));
    driver.ring().add([
      { address: question, length: 4, writable: false },
      { address: answer, length: 4, writable: true },
    ]);
    driver.registers.notify(0);
    return driver.memory.read(answer, 4).join() === '1,2,3,4' && driver.registers.takeInterrupts().queue;
  };
  return { driver, works };
}

function poll(driver: Driver): void {
  for (let looks = 0; driver.core.poll(); looks++) if (looks > 10_000) throw new Error('it does not come to an end');
}

/** Everything as it was when the guest was switched on. */
function fresh(name: string, transport: TransportName): Victim {
  const victim = DEVICES[name]!(transport);
  const { driver } = victim;
  driver.memory.bytes.fill(0, driver.memory.offsetOf(0x1000, 1), driver.memory.offsetOf(NEIGHBOUR + 0x8000, 1));
  driver.allocator = new GuestAllocator(0x1000);
  return victim;
}

for (const name of Object.keys(DEVICES)) {
  for (const [attack, { fault, withoutIndirect = false, act }] of Object.entries(ATTACKS)) {
    test(`${name}: ${attack}`, (t) => {
      for (const transport of TRANSPORTS) {
        for (const queue of fresh(name, transport).writable.keys()) {
          const where = `${transport}, queue ${queue}`;
          const { driver, features, writable, use, prove } = fresh(name, transport);
          const neighbour = neighbourOf(driver.memory);
          const accepted = withoutIndirect ? features.filter((bit) => bit !== 28) : features;
          driver.start({ features: accepted, queueSize: QUEUE_SIZE });
          act(driver.ring(queue), driver.memory, writable[queue] ? VRING_DESC_F_WRITE : 0);
          driver.registers.notify(queue);
          use();
          poll(driver);
          const { status } = driver.registers;
          t.is(status & VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET, where);
          t.is(status & VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_DRIVER_OK, where);
          t.true(driver.registers.takeInterrupts().config, where);
          t.is(driver.core.faults.count, 1, where);
          t.is(driver.warnings.length, 1, where);
          t.true(driver.warnings[0]!.endsWith(`the device needs a reset: ${faultText(fault)}`), driver.warnings[0]);
          t.true(neighbour.works(), `${where}: another device goes on`);
          t.is(neighbour.driver.core.faults.count, 0, where);
          prove();
          t.is(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0, where);
        }
      }
    });
  }

  for (const [attack, { fault, place }] of Object.entries(PLACES)) {
    test(`${name}: ${attack}`, (t) => {
      for (const transport of TRANSPORTS) {
        for (const queue of fresh(name, transport).writable.keys()) {
          const { driver, features, prove } = fresh(name, transport);
          driver.start({ features, queueSize: QUEUE_SIZE });
          const good = driver.ring(queue).place;
          driver.registers.status = 0;
          driver.registers.status = 3;
          t.true(driver.accept(driver.features));
          driver.registers.placeQueue(queue, place(good, driver.memory));
          driver.registers.enableQueue(queue);
          t.false(driver.registers.isEnabled(queue));
          t.not(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
          t.true(driver.warnings[0]!.endsWith(faultText(fault)), driver.warnings[0]);
          prove();
        }
      }
    });
  }

  test(`${name}: features that were never offered`, (t) => {
    for (const transport of TRANSPORTS) {
      const { driver, prove } = fresh(name, transport);
      const { registers } = driver;
      for (const bit of [0n, 22n, 40n, 63n]
        .map((number) => 1n << number)
        .filter((bit) => (driver.features & bit) === 0n)) {
        registers.status = 0;
        registers.status = 3;
        t.false(driver.accept(driver.features | bit));
        registers.status |= VIRTIO_CONFIG_S_DRIVER_OK;
        t.is(registers.status & VIRTIO_CONFIG_S_DRIVER_OK, 0);
      }
      prove();
    }
  });

  test(`${name}: notifications before DRIVER_OK, and of queues that do not exist`, (t) => {
    for (const transport of TRANSPORTS) {
      const { driver, features, writable, use, prove } = fresh(name, transport);
      const { registers } = driver;
      registers.status = 0;
      for (const step of [1, 3]) {
        registers.status = step;
        for (const queue of [...writable.keys(), 7, 0xffff]) registers.notify(queue);
      }
      const mask = features.reduce((bits, bit) => bits | (1n << BigInt(bit)), 1n << 32n);
      t.true(driver.accept(driver.features & mask));
      driver.setUpQueues(QUEUE_SIZE);
      for (const queue of writable.keys()) {
        one({ address: 0xd000_0000 })(driver.ring(queue), driver.memory, 0);
        registers.notify(queue);
      }
      use();
      t.false(driver.core.poll());
      t.is(driver.core.faults.count, 0, 'nothing was looked at');
      prove();
    }
  });
}
