import { TRANSPORTS, type TransportName } from './driver.ts';
import { HostileBus, WatchedBus } from './hostile-bus.ts';
import { hostileConsole } from './hostile-console.ts';
import type { HostileDevice } from './hostile-device.ts';
import { HostileGuest } from './hostile-guest.ts';
import { anyLimits, HostileLimiter } from './hostile-limiter.ts';
import { hostileBalloon, hostileEntropy } from './hostile-memory.ts';
import { hostileNet } from './hostile-net.ts';
import { HostileSockets } from './hostile-sockets.ts';
import { hostileVsock } from './hostile-vsock.ts';
import { watchQueues } from './reference-queue.ts';
import { onceIn, type Tape } from './tape.ts';

/** What a program of a hostile guest did. */
export interface FuzzCounts {
  /** Descriptor chains that were made available. */
  chains: number;
  /** Accesses to registers, configuration space and BARs in any order; of the rate limiter: requests. */
  accesses: number;
  resets: number;
  /** Times that a device asked for a reset. */
  faults: number;
}

/** Something that a hostile guest is let loose on. */
export interface FuzzSubject {
  /** For people: `net, pci`. */
  readonly name: string;
  readonly device: string;
  /** Undefined where it is of no one transport. */
  readonly transport: TransportName | undefined;
  /** Makes one anew, and does what a tape says, up to `steps` things or the tape's end. @throws what the guest found wrong */
  run(tape: Tape, steps: number, counts: FuzzCounts): void;
}

type Run = FuzzSubject['run'];

function overDevice(create: (transport: TransportName) => HostileDevice): (transport: TransportName) => Run {
  return (transport) => (tape, steps, counts) => {
    const guest = create(transport);
    watchQueues(guest.subject.driver.core);
    guest.run(tape, steps);
    counts.chains += guest.chains;
    counts.accesses += guest.registerAccesses;
    counts.resets += guest.resets;
    counts.faults += guest.faults.reduce((sum, count) => sum + count, 0);
  };
}

const block = (transport: TransportName): Run => {
  return (tape, steps, counts) => {
    const options = { slow: onceIn(tape, 2), readOnly: onceIn(tape, 8) };
    const limits = onceIn(tape, 4) ? { limits: anyLimits(tape) } : {};
    const guest = new HostileGuest(transport, { ...options, ...limits });
    watchQueues(guest.driver.core);
    guest.run(tape, steps);
    counts.chains += guest.counts.chains;
    counts.accesses += guest.counts.registerAccesses;
    counts.resets += guest.counts.resets;
    counts.faults += guest.counts.faults.reduce((sum, count) => sum + count, 0);
  };
};

/** Chains as they should be, with packets that are not. */
const sockets = (transport: TransportName): Run => {
  return (tape, steps, counts) => {
    const guest = new HostileSockets(transport);
    watchQueues(guest.driver.core);
    guest.run(tape, steps);
    counts.chains += guest.counts.packets;
    counts.faults += guest.counts.faults;
    counts.resets++;
  };
};

const DEVICES: Readonly<Record<string, (transport: TransportName) => Run>> = {
  block,
  net: overDevice(hostileNet),
  console: overDevice(hostileConsole),
  vsock: overDevice(hostileVsock),
  'vsock-packets': sockets,
  entropy: overDevice(hostileEntropy),
  balloon: overDevice(hostileBalloon),
};

const bus: Run = (tape, steps, counts) => {
  new HostileBus(new WatchedBus(1 + (tape.next() % 6))).run(tape, steps);
  counts.accesses += steps;
};

const limiter: Run = (tape, steps, counts) => {
  const asker = new HostileLimiter();
  asker.run(tape, steps);
  counts.accesses += asker.requests;
};

/** Every device on each transport, the PCI bus with several of them, and the rate limiter. */
export const FUZZ_SUBJECTS: readonly FuzzSubject[] = [
  ...Object.entries(DEVICES).flatMap(([device, over]) =>
    TRANSPORTS.map((transport) => ({ name: `${device}, ${transport}`, device, transport, run: over(transport) })),
  ),
  { name: 'pci-bus', device: 'pci-bus', transport: undefined, run: bus },
  { name: 'rate-limiter', device: 'rate-limiter', transport: undefined, run: limiter },
];
