import test from 'ava';
import fc from 'fast-check';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';
import { HostileSockets } from '../../helpers/virtio/hostile-sockets.ts';
import { ListTape, SeededTape } from '../../helpers/virtio/tape.ts';

/** What a run must have met depends on its seed, so that of `npm test` is always the same; `npm run fuzz` takes others. */
const SEED = 1;

// A failure names a seed, and fast-check its counterexample.

for (const transport of TRANSPORTS) {
  test(`${transport}: whatever guest and host do, nothing is overrun or left over, and a reset helps`, (t) => {
    const numbers = fc.array(fc.nat({ max: 0xffff_ffff }), { maxLength: 400, size: 'max' });
    fc.assert(
      fc.property(numbers, (list) => {
        new HostileSockets(transport).run(new ListTape(list), 1000);
      }),
      { numRuns: 60, includeErrorInReport: true },
    );
    t.pass();
  });

  test(`${transport}: thousands of hostile packets, of which many reach a connection`, (t) => {
    const seed = SEED;
    t.log(`seed ${seed}`);
    const tape = new SeededTape(seed);
    const sockets = new HostileSockets(transport);
    for (let i = 0; i < 40; i++) sockets.run(tape, 500);
    const { counts } = sockets;
    const { metrics } = sockets.device;
    t.true(counts.packets > 5000);
    t.true(counts.received > 1000);
    t.true(counts.connections >= 4);
    t.true(counts.faults > 0);
    t.true(metrics.conns_added > 100 && metrics.conns_killed > 0, JSON.stringify(metrics));
    t.is(metrics.conns_added, metrics.conns_removed + sockets.device.connections);
    t.true(metrics.tx_bytes_count > 0 && metrics.rx_bytes_count > 0 && metrics.rx_read_fails > 0);
  });
}
