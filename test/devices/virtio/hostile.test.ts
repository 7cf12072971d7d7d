import test from 'ava';
import fc from 'fast-check';
import { Fault } from '../../../devices/virtio/faults.ts';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';
import { hostileConsole } from '../../helpers/virtio/hostile-console.ts';
import { hostileNet } from '../../helpers/virtio/hostile-net.ts';
import { ListTape, SeededTape } from '../../helpers/virtio/tape.ts';

/** What a run must have met depends on its seed, so that of `npm test` is always the same; `npm run fuzz` takes others. */
const SEED = 1;

// A failure names a seed, and fast-check its counterexample; `npm run fuzz` goes on for millions.

/** What such devices do not ask of their chains: requests with answers. */
const OF_REQUESTS = ['None', 'ChainInUse', 'QueueSize', 'QueueAlignment', 'QueueAddress'];

for (const [name, create] of [
  ['net', hostileNet],
  ['console', hostileConsole],
] as const) {
  for (const transport of TRANSPORTS) {
    test(`${name}, ${transport}: whatever a guest does, the device works again after a reset`, (t) => {
      fc.assert(
        fc.property(fc.array(fc.nat({ max: 0xffff_ffff }), { maxLength: 400, size: 'max' }), (numbers) => {
          create(transport).run(new ListTape(numbers), 1000);
        }),
        { numRuns: 100 },
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
        Object.entries(Fault).filter(([fault, number]) => !OF_REQUESTS.includes(fault) && guest.faults[number] === 0),
        [],
      );
    });
  }
}
