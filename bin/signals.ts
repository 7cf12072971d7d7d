import { constants } from 'node:os';
import { unblockSignal } from '../lib/ffi/unblock-signal.ts';

/** The signals that end a run cleanly. */
export const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type StopSignal = (typeof STOP_SIGNALS)[number];

/** The signal that asks for a report. */
export const REPORT_SIGNAL = 'SIGUSR1';

/** The exit status of a process that a signal ended, as shells count it. */
export function signalExitCode(signal: StopSignal): number {
  return 128 + constants.signals[signal];
}

/** What has come of the signals that end a run. */
export interface CaughtSignals {
  readonly stop: AbortSignal;
  received(): StopSignal | undefined;
  /**
   * Takes note of a signal that another process was sent, which stands before us. Where a terminal sent it, it was sent to both: it counts once.
   * @param number as in signal(7); others than those that end a run and `REPORT_SIGNAL` are without effect
   */
  relayed(number: number): void;
}

/**
 * Listens for the signals that end a run. The first aborts `stop`, with its name as the reason; the second ends the
 * process at once (its `exit` handlers still run: they restore the terminal).
 */
export function catchSignals(): CaughtSignals {
  const controller = new AbortController();
  let received: StopSignal | undefined;
  const onSignal = (signal: StopSignal) => {
    if (received !== undefined) process.exit(signalExitCode(signal));
    received = signal;
    controller.abort(signal);
  };
  const counters = STOP_SIGNALS.map((signal) => ({ signal, direct: 0, relayed: 0 }));
  for (const counter of counters) {
    process.on(counter.signal, () => {
      if (++counter.direct > counter.relayed) onSignal(counter.signal);
    });
  }
  const relayed = (number: number): void => {
    if (number === constants.signals[REPORT_SIGNAL]) process.emit(REPORT_SIGNAL, REPORT_SIGNAL);
    const counter = counters.find(({ signal }) => constants.signals[signal] === number);
    if (counter !== undefined && ++counter.relayed > counter.direct) onSignal(counter.signal);
  };
  return { stop: controller.signal, received: () => received, relayed };
}

/** Calls `report` at each `REPORT_SIGNAL`, which would end the process otherwise. */
export function catchReportSignal(report: () => void): void {
  process.on(REPORT_SIGNAL, report);
  unblockSignal(constants.signals[REPORT_SIGNAL]);
}
