import type { InputSource } from '../../devices/byte-stream.ts';
import type { SerialConfig, VmConfig } from '../config/types.ts';
import { type ConsoleEvents, HostConsole } from '../console/host-console.ts';
import { RateLimitedSink } from '../console/rate-limited-sink.ts';
import type { ExitCode } from '../errors.ts';
import type { Log } from '../log.ts';
import { EventLoop } from '../loop/event-loop.ts';
import type { Profiles } from '../seccomp/profile.ts';
import { exitCodeOf } from './ending.ts';
import type { SerialEnds } from './isa-devices.ts';
import { Machine } from './machine.ts';

export interface RunOptions {
  readonly log: Log;
  /** Aborted when the guest is to be stopped from outside. */
  readonly stop: AbortSignal;
  /** What each kind of thread may do; undefined: everything. */
  readonly seccomp: Profiles | undefined;
}

/** A stopped guest's last output gets this long, in milliseconds, to be taken; that of one that ended itself waits for its reader. */
const STOPPED_DRAIN_MS = 500;

/** The input of a serial port that only prints. */
const NO_INPUT: InputSource = { available: 0, take: () => 0, takeInto: () => 0, onReadable: () => {} };

/**
 * Boots a machine and runs it to its end.
 * @throws MvmError where it cannot be made, the guest crashed, or its output failed
 */
export async function runMachine(config: VmConfig, { log, stop }: RunOptions): Promise<ExitCode> {
  const loop = new EventLoop();
  let machine: Machine | undefined;
  const console = openConsole(config.serial, loop, {
    leave: () => machine?.end({ kind: 'stopped' }),
    sendBreak: () => machine?.isa.serial?.sendBreak(),
    sendCtrlAltDel: () => {
      if (machine?.isa.i8042.sendCtrlAltDel() === false) log.warn('the guest has no keyboard driver that listens');
    },
    failed: (error) => machine?.fail(error),
  });
  try {
    machine = new Machine(config, log, loop, console && serialEnds(console, config.serial));
    machine.beforeStop = (ending) => drain(console, ending?.kind === 'stopped');
    await machine.load();
    const stopMachine = () => machine?.end({ kind: 'stopped' });
    stop.addEventListener('abort', stopMachine, { once: true });
    if (stop.aborted) stopMachine();
    console?.start();
    log.rawTerminal = () => console?.raw === true;
    const ending = await machine.run();
    log.debug(`the guest ended: ${ending.kind}; ${JSON.stringify(machine.counters)}`);
    return exitCodeOf(ending);
  } finally {
    console?.close();
  }
}

function openConsole(serial: SerialConfig, loop: EventLoop, events: ConsoleEvents): HostConsole | undefined {
  switch (serial.kind) {
    case 'stdio':
      return HostConsole.standard(loop, events);
    case 'file':
      return HostConsole.file(loop, serial.path, events);
    case 'none':
      return undefined;
  }
}

function serialEnds(console: HostConsole, serial: SerialConfig): SerialEnds {
  const limit = serial.kind === 'none' ? undefined : serial.rateLimiter;
  return {
    output: limit === undefined ? console.output : new RateLimitedSink(console.output, limit),
    input: console.input ?? NO_INPUT,
  };
}

/** Waits until all that the guest printed is out. */
async function drain(console: HostConsole | undefined, stopped: boolean): Promise<void> {
  if (console === undefined) return;
  const limit = stopped ? [new Promise<void>((resolve) => setTimeout(resolve, STOPPED_DRAIN_MS))] : [];
  await Promise.race([console.drain(), ...limit]);
}
