import test from 'ava';
import fc from 'fast-check';
import { Fault } from '../../../devices/virtio/faults.ts';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';
import { HostileGuest } from '../../helpers/virtio/hostile-guest.ts';
import { ListTape, SeededTape } from '../../helpers/virtio/tape.ts';

/** What a run must have met depends on its seed, so that of `npm test` is always the same; `npm run fuzz` takes others. */
const SEED = 1;

// A failure names a seed, and fast-check its counterexample; `npm run fuzz` goes on for millions.

for (const transport of TRANSPORTS) {
  test(`${transport}: whatever a guest does, it harms nothing but its own device, which works again after a reset`, (t) => {
    const program = fc.record({
      slow: fc.boolean(),
      readOnly: fc.boolean(),
      numbers: fc.array(fc.nat({ max: 0xffff_ffff }), { maxLength: 300, size: 'max' }),
    });
    fc.assert(
      fc.property(program, ({ slow, readOnly, numbers }) => {
        new HostileGuest(transport, { slow, readOnly }).run(new ListTape(numbers), 1000);
      }),
      { numRuns: 150 },
    );
    t.pass();
  });

  test(`${transport}: thousands of hostile chains, of which many are faults and many are not`, (t) => {
    const seed = SEED;
    t.log(`seed ${seed}`);
    const tape = new SeededTape(seed);
    const guest = new HostileGuest(transport, { slow: false, readOnly: false });
    for (let i = 0; i < 200; i++) guest.run(tape, 500);
    const { chains, faults, registerAccesses } = guest.counts;
    t.true(chains > 50_000);
    // Each kind of fault that chains and queues can have.
    t.deepEqual(
      Object.entries(Fault).filter(([name, fault]) => name !== 'None' && faults[fault] === 0),
      [],
    );
    t.true(registerAccesses > 200);
    const { metrics } = guest.driver.core.device as unknown as { metrics: { read_count: number; write_count: number } };
    t.true(metrics.read_count + metrics.write_count > chains / 100, `${metrics.read_count} ${metrics.write_count}`);
  });
}
