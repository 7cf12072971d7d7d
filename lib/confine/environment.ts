import { readFileSync } from 'node:fs';
import { tryCall } from '../ffi/libc.ts';

/** Fields of /proc/self/stat behind the name, which is in brackets: proc_pid_stat(5), counted from 3. */
const ENV_START = 50 - 3;
const ENV_END = 51 - 3;

/**
 * Forgets the environment: it may hold secrets of who started us. What the kernel shows of it (/proc/PID/environ) is wiped too.
 *
 * Time is in UTC from then on: V8 would look for the host's time zone in files when it is first asked for a date. (`process.env.TZ` would
 * have it do so at once, which takes 4 ms.)
 */
export function clearEnvironment(): void {
  tryCall('clearenv');
  tryCall('setenv', 'TZ', 'UTC', 1);
  const stat = readFileSync('/proc/self/stat', 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const start = Number(fields[ENV_START]);
  const length = Number(fields[ENV_END]) - start;
  if (start > 0 && length > 0) tryCall('memset', start, 0, length);
}
