import test from 'ava';
import fc from 'fast-check';
import { Fault } from '../../../devices/virtio/faults.ts';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';
import { hostileBalloon, hostileEntropy } from '../../helpers/virtio/hostile-memory.ts';
import { hostileVsock } from '../../helpers/virtio/hostile-vsock.ts';
import { ListTape, SeededTape } from '../../helpers/virtio/tape.ts';

/** What a run must have met depends on its seed, so that of `npm test` is always the same; `npm run fuzz` takes others. */
const SEED = 1;

// As hostile.test.ts, for devices that move no frames.

/** Faults of where queues lie, which this guest does not try, and what these devices do not find wrong with chains. */
const ELSEWHERE = ['None', 'ChainInUse', 'QueueSize', 'QueueAlignment', 'QueueAddress'];
const DEVICES = [
  { name: 'entropy', create: hostileEntropy, never: ['RequestHeader'] },
  { name: 'balloon', create: hostileBalloon, never: ['RequestHeader', 'RequestAnswer'] },
  { name: 'vsock', create: hostileVsock, never: [] as string[] },
];

for (const { name, create, never } of DEVICES) {
  for (const transport of TRANSPORTS) {
    test(`${name}, ${transport}: whatever a guest does, the device works again after a reset`, (t) => {
      fc.assert(
        fc.property(fc.array(fc.nat({ max: 0xffff_ffff }), { maxLength: 400, size: 'max' }), (numbers) => {
          create(transport).run(new ListTape(numbers), 1000);
        }),
        { numRuns: 60, includeErrorInReport: true },
      );
      t.pass();
    });

    test(`${name}, ${transport}: thousands of hostile chains, with each kind of fault`, (t) => {
      const seed = SEED;
      t.log(`seed ${seed}`);
      const tape = new SeededTape(seed);
      const guest = create(transport);
      for (let i = 0; i < 150; i++) guest.run(tape, 300);
      t.true(guest.chains > 20_000);
      t.deepEqual(
        Object.entries(Fault)
          .filter(([, number]) => guest.faults[number] === 0)
          .map(([fault]) => fault)
          .filter((fault) => !ELSEWHERE.includes(fault) && !never.includes(fault)),
        [],
      );
    });
  }
}
