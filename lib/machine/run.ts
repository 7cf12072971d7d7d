import type { VmConfig } from '../config/types.ts';
import { type Confinement, lockDown } from '../confine/lock-down.ts';
import type { ExitCode } from '../errors.ts';
import type { Log } from '../log.ts';
import { EventLoop } from '../loop/event-loop.ts';
import type { MetricsReporter } from '../metrics/reporter.ts';
import { openLineSink } from '../output/line-sink.ts';
import { Consoles } from './consoles.ts';
import { exitCodeOf } from './ending.ts';
import { Machine } from './machine.ts';

export interface RunOptions {
  readonly log: Log;
  /** Aborted when the guest is to be stopped from outside. */
  readonly stop: AbortSignal;
  /** Registers what is to be done each time that a report is asked for. */
  readonly onReport: (report: () => void) => void;
  readonly confinement: Confinement;
  readonly jail?: Jail;
}

/** What happens around a machine that is in a jail. */
export interface Jail {
  /** All files that are not devices' are open: the root directory may change. */
  enter(): void;
  /** All devices are open: mvm becomes who it is to be. */
  becomeUser(): void;
  /** The guest is about to run. */
  close(loop: EventLoop): void;
}

/** A stopped guest's last output gets this long, in milliseconds, to be taken; that of one that ended itself waits for its reader. */
const STOPPED_DRAIN_MS = 500;

/**
 * Boots a machine and runs it to its end.
 * @throws MvmError where it cannot be made, the guest crashed, or its output failed
 */
export async function runMachine(
  config: VmConfig,
  { log, stop, onReport, confinement, jail }: RunOptions,
): Promise<ExitCode> {
  const loop = new EventLoop();
  let machine: Machine | undefined;
  let metrics: MetricsReporter | undefined;
  const consoles = new Consoles(config, loop, {
    leave: () => machine?.end({ kind: 'stopped' }),
    sendBreak: () => machine?.isa.serial?.sendBreak(),
    sendCtrlAltDel: () => {
      if (machine?.isa.i8042.sendCtrlAltDel() === false) log.warn('the guest has no keyboard driver that listens');
    },
    failed: (error) => machine?.fail(error),
  });
  const metricsSink =
    config.metrics === undefined ? undefined : openLineSink(config.metrics.path, 'the file for metrics');
  try {
    jail?.enter();
    machine = new Machine(config, log, loop, consoles);
    machine.beforeStop = (ending) => drain(consoles, ending?.kind === 'stopped');
    await machine.load();
    if (metricsSink !== undefined) {
      const { startMetrics } = await import('./metrics.ts');
      metrics = startMetrics(metricsSink, config.metrics!, { machine, consoles, log });
    }
    onReport(() => metrics?.flush());
    jail?.becomeUser();
    log.rawTerminal = () => consoles.raw;
    // Before what might have to put the terminal back.
    consoles.start();
    lockDown({ config, loop, threads: machine.threads, terminal: consoles.terminalState }, confinement);
    const stopMachine = () => machine?.end({ kind: 'stopped' });
    stop.addEventListener('abort', stopMachine, { once: true });
    if (stop.aborted) stopMachine();
    jail?.close(loop);
    const ending = await machine.run();
    log.debug(`the guest ended: ${ending.kind}; ${JSON.stringify(machine.counters)}`);
    return exitCodeOf(ending);
  } finally {
    metrics?.close();
    consoles.close();
  }
}

/** Waits until all that the guest printed is out. */
async function drain(consoles: Consoles, stopped: boolean): Promise<void> {
  const limit = stopped ? [new Promise<void>((resolve) => setTimeout(resolve, STOPPED_DRAIN_MS))] : [];
  await Promise.race([consoles.drain(), ...limit]);
}
