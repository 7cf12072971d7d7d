/**
 * Millions of hostile accesses to a PCI bus: `node test/devices/virtio/pci-fuzz-long.ts [steps] [seed]`.
 *
 * Each program of a thousand steps has a seed of its own, which a failure names: `… 1 <seed>` runs it alone.
 */
import { HostileBus, WatchedBus } from '../../helpers/virtio/hostile-bus.ts';
import { SeededTape } from '../../helpers/virtio/tape.ts';

const STEPS = 1000;

const wanted = Number(process.argv[2] ?? 1_000_000);
let seed = Number(process.argv[3] ?? Date.now()) >>> 0;
const started = performance.now();
const total = { steps: 0, decoded: 0, refused: 0, messages: 0 };
for (; total.steps < wanted; seed = (seed + 1) >>> 0) {
  const bus = new WatchedBus(1 + (seed % 6));
  try {
    new HostileBus(bus).run(new SeededTape(seed), STEPS);
  } catch (error) {
    console.error(`seed ${seed}:`, error);
    process.exit(1);
  }
  total.steps += STEPS;
  total.decoded += bus.seen.decoded;
  total.refused += bus.seen.refused;
  total.messages += bus.messages;
}
console.log(JSON.stringify({ ...total, seconds: Number(((performance.now() - started) / 1000).toFixed(1)) }));
