import test from 'ava';
import fc from 'fast-check';
import { VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_ID_RNG } from '../../../devices/virtio/constants.ts';
import { EntropyDevice, MAX_ENTROPY_BYTES } from '../../../devices/virtio/entropy/entropy.ts';
import type { EntropySource } from '../../../devices/virtio/entropy/source.ts';
import type { RequestLimiter } from '../../../devices/virtio/limiter.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { Driver, TRANSPORTS, type TransportName } from '../../helpers/virtio/driver.ts';

const EAGAIN = 11;
/** What is in memory before the device writes. */
const OLD = 0x5a;

/** Writes the same byte everywhere, once asked to `submit`. */
class CountingSource implements EntropySource {
  capacity = 60;
  readonly memory: GuestMemory;
  readonly batches: number[] = [];
  /** What the next fills come to, instead of their lengths. */
  outcomes: number[] = [];
  #begun: { offset: number; length: number }[] = [];
  #results: number[] = [];

  constructor(memory: GuestMemory) {
    this.memory = memory;
  }

  fill(offset: number, length: number): number {
    if (this.#begun.length === this.capacity) throw new RangeError('too many fills');
    this.#results = [];
    return this.#begun.push({ offset, length }) - 1;
  }

  submit(): void {
    this.batches.push(this.#begun.length);
    this.#results = this.#begun.map(({ offset, length }) => {
      const result = this.outcomes.shift() ?? length;
      if (result > 0) this.memory.bytes.fill(0xff, offset, offset + result);
      return result;
    });
    this.#begun = [];
  }

  result(place: number): number {
    const result = this.#results[place];
    if (result === undefined) throw new RangeError('no such fill');
    return result;
  }
}

function setUp(transport: TransportName = 'mmio', options: { limiter?: RequestLimiter } = {}) {
  const memory = GuestMemory.plain(1 << 20);
  const source = new CountingSource(memory);
  const device = new EntropyDevice(source, options.limiter);
  const driver = new Driver(transport, device, memory);
  driver.start();
  const ask = (...lengths: number[]) => {
    const addresses = lengths.map((length) => driver.allocate(length));
    for (const [i, address] of addresses.entries()) memory.bytes.fill(OLD, address, address + lengths[i]!);
    const head = driver.ring().add(addresses.map((address, i) => ({ address, length: lengths[i]!, writable: true })));
    return { head, bytes: () => Buffer.concat(addresses.map((address, i) => memory.read(address, lengths[i]!))) };
  };
  return { memory, source, device, driver, ask };
}

for (const transport of TRANSPORTS) {
  test(`${transport}: buffers are filled, of many requests in one batch`, (t) => {
    const { driver, source, device, ask } = setUp(transport);
    t.is(driver.registers.deviceType, VIRTIO_ID_RNG);
    t.is(driver.registers.readConfig(0, 4), 0);
    const requests = [ask(64), ask(1, 2, 3), ask(4096)];
    driver.registers.notify(0);
    t.deepEqual(driver.ring().collect(), [
      { head: requests[0]!.head, length: 64 },
      { head: requests[1]!.head, length: 6 },
      { head: requests[2]!.head, length: 4096 },
    ]);
    t.true(requests.every(({ bytes }) => bytes().every((byte) => byte === 0xff)));
    t.deepEqual(source.batches, [5]);
    t.true(driver.registers.takeInterrupts().queue);
    t.is(device.metrics.entropy_event_count, 3);
    t.is(device.metrics.entropy_bytes, 64 + 6 + 4096);
    t.is(device.metrics.entropy_event_fails, 0);
  });

  test(`${transport}: a request without room for an answer is a fault, and a reset helps`, (t) => {
    const { driver, ask } = setUp(transport);
    driver.ring().add([{ address: 0x8000, length: 4, writable: false }]);
    driver.registers.notify(0);
    t.is(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET);
    driver.start();
    const { head } = ask(8);
    driver.core.poll();
    t.deepEqual(driver.ring().collect(), [{ head, length: 8 }]);
  });
}

test('one request gets no more than 64 KiB, and many leave room for others', (t) => {
  const { driver, ask } = setUp();
  const large = ask(3 * MAX_ENTROPY_BYTES);
  driver.core.poll();
  t.deepEqual(driver.ring().collect(), [{ head: large.head, length: MAX_ENTROPY_BYTES }]);
  const bytes = large.bytes();
  t.is(bytes[MAX_ENTROPY_BYTES - 1], 0xff);
  t.is(bytes[MAX_ENTROPY_BYTES], OLD);
  for (let i = 0; i < 10; i++) driver.ring().add([{ address: 0x4_0000, length: MAX_ENTROPY_BYTES, writable: true }]);
  driver.registers.notify(0);
  t.is(driver.ring().collect().length, 4);
  while (driver.core.poll());
  t.is(driver.ring().collect().length, 6);
});

test('what the host could not give is told by the length', (t) => {
  const { driver, source, device, ask } = setUp();
  source.outcomes = [-EAGAIN, 8, 3, 8, 8];
  const requests = [ask(8), ask(8, 8, 8), ask(8)];
  driver.core.poll();
  t.deepEqual(
    driver.ring().collect(),
    [0, 11, 8].map((length, i) => ({ head: requests[i]!.head, length })),
  );
  t.is(device.metrics.host_rng_fails, 1);
  t.is(device.metrics.entropy_event_fails, 2);
  t.is(device.metrics.entropy_bytes, 19);
});

test('more buffers than fit into one batch of the host', (t) => {
  const { driver, source, ask } = setUp();
  source.capacity = 4;
  const requests = [ask(1, 1, 1), ask(1, 1), ask(1, 1, 1, 1, 1, 1)];
  driver.core.poll();
  t.deepEqual(
    driver.ring().collect(),
    [3, 2, 4].map((length, i) => ({ head: requests[i]!.head, length })),
  );
  t.deepEqual(source.batches, [3, 2, 4]);
});

test('a limiter holds requests until it is ready', (t) => {
  let ready: (() => void) | undefined;
  const taken: [number, number][] = [];
  let allow = 1;
  const limiter: RequestLimiter = {
    take: (operations, bytes) => {
      if (allow-- <= 0) return false;
      taken.push([operations, bytes]);
      return true;
    },
    onReady: (listener) => {
      ready = listener;
    },
  };
  const { driver, device, ask } = setUp('mmio', { limiter });
  const requests = [ask(100), ask(200), ask(300)];
  driver.core.poll();
  t.deepEqual(driver.ring().collect(), [{ head: requests[0]!.head, length: 100 }]);
  t.false(driver.core.poll(), 'it is not asked again before the limiter says so');
  t.is(device.metrics.entropy_rate_limiter_throttled, 1);
  allow = 5;
  ready?.();
  t.is(device.metrics.rate_limiter_event_count, 1);
  t.true(driver.core.poll());
  t.is(driver.ring().collect().length, 2);
  t.deepEqual(taken, [
    [1, 100],
    [1, 200],
    [1, 300],
  ]);
});

test('any chains: each is answered with no more than its room, or the device asks for a reset', (t) => {
  const buffer = fc.record({
    address: fc.oneof(fc.integer({ min: 0, max: (1 << 20) + 100 }), fc.constant(2 ** 40)),
    length: fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.constantFrom(0xffff_ffff, 1 << 20)),
    writable: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(fc.array(buffer, { minLength: 1, maxLength: 4 }), { maxLength: 12 }),
      fc.array(fc.integer({ min: -20, max: 10 }), { maxLength: 6 }),
      (chains, outcomes) => {
        const { driver, source, ask } = setUp();
        source.outcomes = outcomes.map((outcome) => Math.min(0, outcome));
        const room = new Map<number, number>();
        // Above the rings, so that nothing but the chains themselves is hostile.
        for (const chain of chains) {
          const raised = chain.map((part) => ({ ...part, address: part.address + 0x8000 }));
          const writable = raised.filter((part) => part.writable).reduce((sum, part) => sum + part.length, 0);
          room.set(driver.ring().add(raised), writable);
        }
        while (driver.core.poll());
        for (const { head, length } of driver.ring().collect()) t.true(length <= room.get(head)!);
        driver.start();
        source.outcomes = [];
        const { head } = ask(16);
        driver.core.poll();
        t.deepEqual(driver.ring().collect(), [{ head, length: 16 }]);
      },
    ),
    { numRuns: 300 },
  );
});
