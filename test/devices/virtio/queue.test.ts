import test from 'ava';
import fc from 'fast-check';
import { DescriptorChain } from '../../../devices/virtio/chain.ts';
import { VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE } from '../../../devices/virtio/constants.ts';
import { Fault } from '../../../devices/virtio/faults.ts';
import { VirtQueue } from '../../../devices/virtio/queue.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { type DriverBuffer, DriverRing, GuestAllocator } from '../../helpers/virtio/ring.ts';

const MEMORY_SIZE = 1 << 20;

function setUp(size = 8, options: { eventIndex?: boolean; indirect?: boolean; maxSize?: number } = {}) {
  const memory = GuestMemory.plain(MEMORY_SIZE);
  const allocator = new GuestAllocator(0x1000);
  const ring = new DriverRing(memory, allocator, size, options);
  const faults: Fault[] = [];
  const maxSize = options.maxSize ?? 256;
  const queue = new VirtQueue(0, maxSize, memory, (fault) => faults.push(fault));
  const features = { indirect: options.indirect ?? false, eventIndex: options.eventIndex ?? false };
  const enabled = queue.enable(ring.place, features);
  const chain = new DescriptorChain(memory, maxSize);
  return { memory, allocator, ring, faults, queue, chain, enabled };
}

function segments(chain: DescriptorChain): DriverBuffer[] {
  const found: DriverBuffer[] = [];
  for (let i = chain.readFrom; i < chain.writeTo; i++) {
    const writable = i >= chain.writeFrom;
    found.push({ address: chain.offsets[i] as number, length: chain.lengths[i] as number, writable });
  }
  return found;
}

const readable = (address: number, length: number): DriverBuffer => ({ address, length, writable: false });
const writable = (address: number, length: number): DriverBuffer => ({ address, length, writable: true });

test('a chain comes as the driver made it, once', (t) => {
  const { ring, queue, chain, faults } = setUp();
  const buffers = [readable(0x8000, 16), readable(0x9000, 512), writable(0xa000, 1)];
  const head = ring.add(buffers);
  t.true(queue.pending);
  t.true(queue.pop(chain));
  t.is(chain.head, head);
  t.deepEqual(segments(chain), buffers);
  t.is(chain.readableLength, 528);
  t.is(chain.writableLength, 1);
  t.false(queue.pending);
  t.false(queue.pop(chain));
  t.is(queue.inFlight, 1);
  t.deepEqual(faults, []);
});

test('a chain that was put back comes again', (t) => {
  const { ring, queue, chain } = setUp();
  const head = ring.add([writable(0x8000, 1)]);
  t.true(queue.pop(chain));
  queue.unpop();
  t.is(queue.inFlight, 0);
  t.true(queue.pending);
  t.true(queue.pop(chain));
  t.is(chain.head, head);
});

test('used chains are seen after publish, in order, also when indices wrap', (t) => {
  const { ring, queue, chain } = setUp(4);
  for (let round = 0; round < 0x1_0000 / 3 + 10; round++) {
    const heads = [ring.add([writable(0x8000, 9)]), ring.add([writable(0x9000, 9)]), ring.add([writable(0xa000, 9)])];
    while (queue.pop(chain)) queue.push(chain.head, round);
    if (round === 0) t.deepEqual(ring.collect(), []);
    queue.publish();
    const used = ring.collect();
    if (used.length !== 3 || used.some(({ head, length }, i) => head !== heads[i] || length !== round)) {
      t.deepEqual(used, [], `round ${round}`);
    }
  }
  t.is(queue.inFlight, 0);
});

test('an indirect table may follow ordinary descriptors', (t) => {
  const { ring, queue, chain, allocator } = setUp(8, { indirect: true });
  const table = allocator.take(32, 1) + 1;
  ring.writeDescriptor(table, { address: 0x9000, length: 5, flags: VRING_DESC_F_NEXT, next: 1 });
  ring.writeDescriptor(table + 16, { address: 0xa000, length: 6, flags: VRING_DESC_F_WRITE, next: 0 });
  const { descriptors } = ring.place;
  ring.writeDescriptor(descriptors, { address: 0x8000, length: 4, flags: VRING_DESC_F_NEXT, next: 3 });
  // The device must ignore WRITE beside INDIRECT (virtio 1.2 section 2.7.5.3.2).
  const flags = VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE;
  ring.writeDescriptor(descriptors + 48, { address: table, length: 32, flags, next: 0 });
  ring.offer(0);
  ring.announce();
  t.true(queue.pop(chain));
  t.deepEqual(segments(chain), [readable(0x8000, 4), readable(0x9000, 5), writable(0xa000, 6)]);
});

test('an indirect chain may be longer than the queue, up to the largest size', (t) => {
  const { ring, queue, chain } = setUp(4, { indirect: true, maxSize: 64 });
  const buffers = Array.from({ length: 64 }, (_, i) => readable(0x8000 + i, 1));
  ring.add(buffers);
  t.true(queue.pop(chain));
  t.deepEqual(segments(chain), buffers);
});

test('interrupts without event indices: unless the driver says no', (t) => {
  const { ring, queue, chain } = setUp();
  const use = () => {
    ring.add([writable(0x8000, 1)]);
    queue.pop(chain);
    queue.push(chain.head, 1);
    return queue.publish();
  };
  t.false(queue.publish());
  t.true(use());
  ring.setNoInterrupt(true);
  t.false(use());
  ring.setNoInterrupt(false);
  t.true(use());
});

test('interrupts with event indices: when used->idx passes used_event', (t) => {
  const { ring, queue, chain } = setUp(8, { eventIndex: true });
  const use = (count: number) => {
    for (let i = 0; i < count; i++) ring.add([writable(0x8000, 1)]);
    while (queue.pop(chain)) queue.push(chain.head, 1);
    return queue.publish();
  };
  t.true(use(1));
  t.false(use(1));
  ring.setUsedEvent(4);
  t.false(use(2));
  t.true(use(1));
  t.false(use(1));
  ring.collect();
  t.true(use(3));
});

test('notifications with event indices: wanted from listen until the next buffer', (t) => {
  const { ring, queue, chain } = setUp(8, { eventIndex: true });
  const offer = () => {
    ring.offer(ring.prepare([writable(0x8000, 1)]));
    return ring.announce();
  };
  t.true(offer());
  t.false(offer());
  while (queue.pop(chain)) queue.push(chain.head, 1);
  t.false(queue.listen());
  t.is(ring.availEvent, 2);
  t.true(offer());
  t.false(offer());
  t.true(queue.listen(), 'what came before it is told');
  queue.ignore();
  t.is(ring.usedFlags, 0);
});

test('notifications without event indices: a flag', (t) => {
  const { ring, queue } = setUp();
  queue.ignore();
  ring.offer(ring.prepare([writable(0x8000, 1)]));
  t.false(ring.announce());
  t.true(queue.listen());
  ring.offer(ring.prepare([writable(0x8000, 1)]));
  t.true(ring.announce());
});

test('where a queue cannot lie', (t) => {
  const { memory, queue, ring } = setUp();
  const features = { indirect: true, eventIndex: true };
  const good = ring.place;
  const enable = (place: Partial<typeof good>) => queue.enable({ ...good, ...place }, features);
  t.is(enable({}), Fault.None);
  for (const size of [0, 3, 512, 0x1_0000, 0xffff_ffff]) t.is(enable({ size }), Fault.QueueSize, `${size}`);
  t.is(enable({ descriptors: good.descriptors + 8 }), Fault.QueueAlignment);
  t.is(enable({ available: good.available + 1 }), Fault.QueueAlignment);
  t.is(enable({ used: good.used + 2 }), Fault.QueueAlignment);
  t.is(enable({ descriptors: memory.size - 16 * 7 }), Fault.QueueAddress);
  t.is(enable({ available: memory.size - 2 * 8 }), Fault.QueueAddress);
  t.is(enable({ used: memory.size - 4 * 8 }), Fault.QueueAddress);
  // 2⁶⁴ − 16: would wrap into memory if addresses were of 64 bits.
  t.is(enable({ descriptors: 0xffff_ffff * 0x1_0000_0000 + 0xffff_fff0 }), Fault.QueueAddress);
  t.false(queue.live);
  t.false(queue.pending);
});

test('the last bytes of memory are as good as any', (t) => {
  const { memory, queue, ring } = setUp();
  const used = memory.size - (4 + 8 * 8 + 4);
  t.is(queue.enable({ ...ring.place, used }, { indirect: false, eventIndex: true }), Fault.None);
});

type Hostile = (fixture: ReturnType<typeof setUp>) => void;

/** Writes descriptor 0 as given and makes it available. */
function offerRaw(address: number, length: number, flags: number, next = 0): Hostile {
  return ({ ring }) => {
    ring.writeDescriptor(ring.place.descriptors, { address, length, flags, next });
    ring.offer(0);
    ring.announce();
  };
}

/** An indirect table of these entries. */
function offerTable(
  entries: { address: number; length: number; flags: number; next: number }[],
  length?: number,
): Hostile {
  return (fixture) => {
    const table = fixture.allocator.take(16 * entries.length);
    for (const [i, entry] of entries.entries()) fixture.ring.writeDescriptor(table + 16 * i, entry);
    offerRaw(table, length ?? 16 * entries.length, VRING_DESC_F_INDIRECT)(fixture);
  };
}

const HOSTILE: Record<string, { fault: Fault; indirect?: boolean; act: Hostile }> = {
  'an address outside memory': { fault: Fault.BufferAddress, act: offerRaw(MEMORY_SIZE, 1, 0) },
  'a buffer across the end of memory': { fault: Fault.BufferAddress, act: offerRaw(MEMORY_SIZE - 4, 5, 0) },
  'an address that wraps at 2⁶⁴': {
    fault: Fault.BufferAddress,
    act: offerRaw(0xffff_ffff * 0x1_0000_0000 + 0xffff_f000, 0x2000, 0),
  },
  'an address in the hole below 4 GiB': { fault: Fault.BufferAddress, act: offerRaw(0xd000_0000, 4, 0) },
  'a buffer of zero bytes': { fault: Fault.BufferLength, act: offerRaw(0x8000, 0, 0) },
  'a chain that loops': { fault: Fault.ChainLength, act: offerRaw(0x8000, 1, VRING_DESC_F_NEXT, 0) },
  'a successor that does not exist': { fault: Fault.DescriptorNext, act: offerRaw(0x8000, 1, VRING_DESC_F_NEXT, 8) },
  'an indirect descriptor without the feature': {
    fault: Fault.IndirectFeature,
    act: offerRaw(0x8000, 16, VRING_DESC_F_INDIRECT),
  },
  'a head that does not exist': {
    fault: Fault.AvailEntry,
    act: ({ ring }) => {
      ring.offer(8);
      ring.announce();
    },
  },
  'avail->idx that jumps': { fault: Fault.AvailIndex, act: ({ ring }) => ring.setAvailableIndex(9) },
  'avail->idx that goes back': { fault: Fault.AvailIndex, act: ({ ring }) => ring.setAvailableIndex(0xffff) },
  'more buffers than descriptors': {
    fault: Fault.AvailIndex,
    act: ({ ring, queue, chain }) => {
      for (let i = 0; i < 8; i++) ring.offer(ring.prepare([writable(0x8000, 1)]));
      ring.announce();
      while (queue.pop(chain));
      ring.offer(0);
      ring.announce();
    },
  },
  'readable after writable': {
    fault: Fault.BufferOrder,
    act: ({ ring }) => ring.add([writable(0x8000, 1), readable(0x9000, 1)]),
  },
  'a chain of more than 4 GiB': {
    fault: Fault.ChainBytes,
    indirect: true,
    act: offerTable([
      { address: 0, length: MEMORY_SIZE, flags: VRING_DESC_F_NEXT, next: 1 },
      { address: 0, length: 0xffff_ffff, flags: 0, next: 0 },
    ]),
  },
  'an indirect descriptor with a successor': {
    fault: Fault.IndirectNext,
    indirect: true,
    act: offerRaw(0x8000, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1),
  },
  'an indirect table of zero bytes': { fault: Fault.IndirectLength, indirect: true, act: offerTable([], 0) },
  'an indirect table of a crooked length': {
    fault: Fault.IndirectLength,
    indirect: true,
    act: offerTable([{ address: 0x8000, length: 1, flags: 0, next: 0 }], 17),
  },
  'an indirect table outside memory': {
    fault: Fault.IndirectAddress,
    indirect: true,
    act: offerRaw(MEMORY_SIZE - 16, 32, VRING_DESC_F_INDIRECT),
  },
  'an indirect table in an indirect table': {
    fault: Fault.IndirectNested,
    indirect: true,
    act: offerTable([{ address: 0x8000, length: 16, flags: VRING_DESC_F_INDIRECT, next: 0 }]),
  },
  'an indirect table that loops': {
    fault: Fault.ChainLength,
    indirect: true,
    act: offerTable([{ address: 0x8000, length: 1, flags: VRING_DESC_F_NEXT, next: 0 }]),
  },
  'an indirect successor outside its table': {
    fault: Fault.DescriptorNext,
    indirect: true,
    act: offerTable([{ address: 0x8000, length: 1, flags: VRING_DESC_F_NEXT, next: 1 }]),
  },
};

for (const [name, { fault, indirect = false, act }] of Object.entries(HOSTILE)) {
  test(`hostile: ${name}`, (t) => {
    const fixture = setUp(8, { indirect });
    const { queue, chain, faults, ring } = fixture;
    act(fixture);
    t.false(queue.pop(chain));
    t.deepEqual(faults, [fault]);
    t.false(queue.pending);
    t.false(queue.pop(chain));
    queue.push(0, 1);
    t.false(queue.publish());
    t.deepEqual(faults, [fault], 'told once');
    // After a reset it works again.
    queue.disable();
    const again = new DriverRing(fixture.memory, fixture.allocator, 8);
    t.is(queue.enable(again.place, { indirect: false, eventIndex: false }), Fault.None);
    again.add([readable(0x8000, 3)]);
    t.true(queue.pop(chain));
    t.is(chain.readableLength, 3);
    t.is(ring.collect().length, 0);
  });
}

test('every hostile chain is named', (t) => {
  const named = new Set(Object.values(HOSTILE).map(({ fault }) => fault));
  const ofChains = Object.values(Fault).filter((fault) => fault >= Fault.AvailIndex && fault <= Fault.IndirectAddress);
  t.deepEqual(
    ofChains.filter((fault) => !named.has(fault)),
    [],
  );
});

test('numbers are read whole wherever buffers are split', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.array(fc.integer({ min: 1, max: 15 }), { maxLength: 5 }),
      (bytes, cuts) => {
        const { memory, ring, queue, chain } = setUp(16);
        memory.write(0x8000, bytes);
        const ends = [...new Set(cuts), 16].sort((a, b) => a - b);
        ring.add(ends.map((end, i) => readable(0x8000 + (ends[i - 1] ?? 0), end - (ends[i - 1] ?? 0))));
        queue.pop(chain);
        const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
        t.is(chain.takeU32(), view.getUint32(0, true));
        t.is(chain.takeNumber64(), Number(view.getBigUint64(4, true)));
        t.is(chain.takeByte(), view.getUint8(12));
        t.is(chain.readableLength, 3);
      },
    ),
    { numRuns: 200 },
  );
});

test('answers go where the driver put their room, from both ends', (t) => {
  const { memory, ring, queue, chain } = setUp();
  ring.add([writable(0x8000, 2), writable(0x9000, 1), writable(0xa000, 1)]);
  queue.pop(chain);
  t.is(chain.takeLastWritable(), 0xa000);
  t.is(chain.takeLastWritable(), 0x9000);
  chain.putByte(7);
  t.is(chain.writableLength, 1);
  t.is(chain.takeLastWritable(), 0x8001);
  t.is(chain.writableLength, 0);
  t.is(memory.bytes[0x8000], 7);
});
