import test from 'ava';
import { DescriptorChain } from '../../../devices/virtio/chain.ts';
import { Fault } from '../../../devices/virtio/faults.ts';
import { VirtQueue } from '../../../devices/virtio/queue.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { hostileConsole } from '../../helpers/virtio/hostile-console.ts';
import { HostileGuest } from '../../helpers/virtio/hostile-guest.ts';
import { hostileBalloon, hostileEntropy } from '../../helpers/virtio/hostile-memory.ts';
import { hostileNet } from '../../helpers/virtio/hostile-net.ts';
import { hostileVsock } from '../../helpers/virtio/hostile-vsock.ts';
import { DriverRing, GuestAllocator } from '../../helpers/virtio/ring.ts';
import { type Area, Scribbler } from '../../helpers/virtio/scribbler.ts';
import { SeededTape } from '../../helpers/virtio/tape.ts';

// Another vCPU of the guest changes memory while a device reads it: whatever was checked is what is used, because it is read once.

const MEMORY_SIZE = 1 << 18;
const SIZE = 8;

for (const indirect of [false, true]) {
  test.serial(
    `a chain is inside memory, whatever ${indirect ? 'entries of its indirect table' : 'its descriptors'} become meanwhile`,
    async (t) => {
      const memory = new GuestMemory(new SharedArrayBuffer(MEMORY_SIZE), 0, MEMORY_SIZE);
      const allocator = new GuestAllocator(0x1000);
      let faults = 0;
      const queue = new VirtQueue(0, SIZE, memory, () => faults++);
      const chain = new DescriptorChain(memory, SIZE);
      const ring = new DriverRing(memory, allocator, SIZE, { indirect });
      const buffers = Array.from({ length: 4 }, (_, i) => ({ address: 0x8000 + 64 * i, length: 64, writable: i > 1 }));
      ring.prepare(buffers);
      const { descriptors } = ring.place;
      const table = indirect ? memory.view.getUint32(memory.offsetOf(descriptors, 4), true) : descriptors;
      const scribbler = new Scribbler(memory, [{ start: table, length: 16 * 4 }]);
      let taken = 0;
      try {
        await scribbler.start();
        // As long as it takes to have met both, many times.
        while (taken < 20_000 || faults < 200) {
          t.is(queue.enable(ring.place, { indirect: true, eventIndex: false }), Fault.None);
          for (let i = 0; i < 1000; i++) {
            ring.setAvailableIndex((i + 1) & 0xffff);
            if (!queue.pop(chain)) break;
            taken++;
            let [readable, writable] = [0, 0];
            for (let k = chain.readFrom; k < chain.writeTo; k++) {
              const [offset, length] = [chain.offsets[k]!, chain.lengths[k]!];
              if (length < 1 || offset < 0 || offset + length > MEMORY_SIZE)
                throw new Error(`${offset}, ${length} bytes`);
              if (k < chain.readTo) readable += length;
              else writable += length;
            }
            if (readable !== chain.readableLength || writable !== chain.writableLength)
              throw new Error('other lengths');
            if (chain.writeTo > SIZE) throw new Error('more buffers than there is room for');
            queue.push(chain.head, 0);
            queue.publish();
          }
        }
      } finally {
        await scribbler.end();
      }
      t.log(`${taken} chains and ${faults} faults while ${scribbler.written} words were changed`);
    },
  );
}

/** Where hostile guests have their first rings, tables, and what their chains hold. */
const AREAS: readonly Area[] = [
  { start: 0x1000, length: 0x400 },
  { start: 0x1000, length: 0x4000 },
  { start: 0x8000, length: 0x3000 },
  { start: 0x1_0000, length: 0x400 },
  { start: 0x2_0000, length: 0x2_0000 },
];
const PROGRAMS = 40;
const STEPS = 300;

const DEVICES = {
  block: () => {
    const guest = new HostileGuest('mmio', { slow: false, readOnly: true });
    return { guest, memory: guest.memory, chains: () => guest.counts.chains };
  },
  ...Object.fromEntries(
    Object.entries({
      net: hostileNet,
      console: hostileConsole,
      vsock: hostileVsock,
      entropy: hostileEntropy,
      balloon: hostileBalloon,
    }).map(([name, create]) => [
      name,
      () => {
        const guest = create('mmio');
        return { guest, memory: guest.subject.driver.memory, chains: () => guest.chains };
      },
    ]),
  ),
};

for (const [name, create] of Object.entries(DEVICES)) {
  test.serial(
    `${name}: a hostile guest whose other vCPU changes memory meanwhile harms nothing, and a reset helps`,
    async (t) => {
      const { guest, memory, chains } = create();
      const scribbler = new Scribbler(memory, AREAS);
      guest.beforeProof = () => scribbler.rest();
      try {
        for (let seed = 1; seed <= PROGRAMS; seed++) {
          await scribbler.start();
          guest.run(new SeededTape(seed), STEPS);
        }
      } finally {
        await scribbler.end();
      }
      t.log(`${chains()} chains while ${scribbler.written} words were changed`);
      t.true(chains() > 2000);
      t.true(scribbler.written > 10_000);
    },
  );
}
