import { constants } from 'node:os';

/** The signals that end a run cleanly. */
const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type StopSignal = (typeof STOP_SIGNALS)[number];

/** The exit status of a process that a signal ended, as shells count it. */
export function signalExitCode(signal: StopSignal): number {
  return 128 + constants.signals[signal];
}

/**
 * Listens for the signals that end a run. The first aborts `stop`, with its name as the reason; the second ends the
 * process at once (its `exit` handlers still run: they restore the terminal).
 */
export function catchSignals(): { readonly stop: AbortSignal; received(): StopSignal | undefined } {
  const controller = new AbortController();
  let received: StopSignal | undefined;
  const onSignal = (signal: StopSignal) => {
    if (received !== undefined) process.exit(signalExitCode(signal));
    received = signal;
    controller.abort(signal);
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  return { stop: controller.signal, received: () => received };
}
