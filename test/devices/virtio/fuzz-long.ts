/**
 * Millions of hostile chains: `node test/devices/virtio/fuzz-long.ts [chains] [seed]`.
 *
 * Each program of a few hundred steps has a seed of its own, which a failure names: `… 1 <seed>` runs it alone.
 */
import { Fault } from '../../../devices/virtio/faults.ts';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';
import { HostileGuest } from '../../helpers/virtio/hostile-guest.ts';
import { SeededTape } from '../../helpers/virtio/tape.ts';

const STEPS = 500;

const wanted = Number(process.argv[2] ?? 1_000_000);
let seed = Number(process.argv[3] ?? Date.now()) >>> 0;
const started = performance.now();
const total = { chains: 0, registerAccesses: 0, resets: 0, programs: 0 };
const faults: Record<string, number> = {};
for (let lastSaid = 0; total.chains < wanted; seed = (seed + 1) >>> 0) {
  const transport = TRANSPORTS[seed % TRANSPORTS.length] ?? 'mmio';
  const guest = new HostileGuest(transport, { slow: (seed & 2) !== 0, readOnly: (seed & 28) === 0 });
  try {
    guest.run(new SeededTape(seed), STEPS);
  } catch (error) {
    console.error(`seed ${seed} (${transport}):`, error);
    process.exit(1);
  }
  total.chains += guest.counts.chains;
  total.registerAccesses += guest.counts.registerAccesses;
  total.resets += guest.counts.resets;
  for (const [name, fault] of Object.entries(Fault))
    faults[name] = (faults[name] ?? 0) + (guest.counts.faults[fault] ?? 0);
  total.programs++;
  if (total.chains - lastSaid >= 1_000_000) {
    lastSaid = total.chains;
    console.error(`${total.chains} chains, next seed ${(seed + 1) >>> 0}`);
  }
}
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(JSON.stringify({ ...total, seconds: Number(seconds), faults }));
