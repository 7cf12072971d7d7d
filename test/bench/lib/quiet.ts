import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Of the columns of /proc/stat's first line (proc_stat(5)): not idle, iowait, or a guest's time, which is in user's already. */
const BUSY_COLUMNS = [0, 1, 2, 5, 6, 7];
/** Milliseconds of one of its ticks: USER_HZ is 100. */
const TICK_MS = 10;
/** How much of one CPU others may take on a machine that counts as quiet. */
export const QUIET = 0.15;

/** Milliseconds that all CPUs together have been busy since the machine started. */
export function busyTime(): number {
  const [, ...columns] = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]!.split(/ +/);
  return BUSY_COLUMNS.reduce((sum, column) => sum + Number(columns[column]) * TICK_MS, 0);
}

/** Waits until the machine has had next to nothing to do for a while, but no longer than so many seconds. */
export async function waitForQuiet(limit: number): Promise<void> {
  const window = 200;
  for (let waited = 0; waited < limit * 1000; waited += window) {
    const before = busyTime();
    await sleep(window);
    if (busyTime() - before <= window * QUIET) return;
  }
}
