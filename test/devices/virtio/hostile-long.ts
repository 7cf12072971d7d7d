/**
 * Millions of hostile chains for one device: `node test/devices/virtio/hostile-long.ts net|console|entropy|balloon|vsock [chains] [seed]`.
 *
 * Each program of a few hundred steps has a seed of its own, which a failure names: `… net 1 <seed>` runs it alone.
 */
import { Fault } from '../../../devices/virtio/faults.ts';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';
import { hostileConsole } from '../../helpers/virtio/hostile-console.ts';
import { hostileBalloon, hostileEntropy } from '../../helpers/virtio/hostile-memory.ts';
import { hostileNet } from '../../helpers/virtio/hostile-net.ts';
import { hostileVsock } from '../../helpers/virtio/hostile-vsock.ts';
import { SeededTape } from '../../helpers/virtio/tape.ts';

const STEPS = 500;
const DEVICES = {
  net: hostileNet,
  console: hostileConsole,
  entropy: hostileEntropy,
  balloon: hostileBalloon,
  vsock: hostileVsock,
};

const device = (process.argv[2] ?? 'net') as keyof typeof DEVICES;
const wanted = Number(process.argv[3] ?? 1_000_000);
let seed = Number(process.argv[4] ?? Date.now()) >>> 0;
const create = DEVICES[device];
const started = performance.now();
let chains = 0;
let programs = 0;
const faults: Record<string, number> = {};
for (; chains < wanted; seed = (seed + 1) >>> 0) {
  const transport = TRANSPORTS[seed % TRANSPORTS.length] ?? 'mmio';
  const guest = create(transport);
  try {
    guest.run(new SeededTape(seed), STEPS);
  } catch (error) {
    console.error(`seed ${seed} (${device}, ${transport}):`, error);
    process.exit(1);
  }
  chains += guest.chains;
  for (const [name, fault] of Object.entries(Fault)) faults[name] = (faults[name] ?? 0) + (guest.faults[fault] ?? 0);
  programs++;
}
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(JSON.stringify({ device, chains, programs, seconds: Number(seconds), faults }));
