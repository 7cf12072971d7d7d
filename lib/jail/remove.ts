import { rmdirSync } from 'node:fs';
import { HostError } from '../errors.ts';

/** A cgroup is busy for a moment after its last process has ended. */
const REMOVE_TRIES = 50;
const REMOVE_PAUSE_MS = 10;

/** Removes directories in which nothing is left, the last first: others may have come to use them too. */
export function removeEmpty(directories: readonly string[]): void {
  for (const directory of directories.toReversed()) {
    try {
      rmdirSync(directory);
    } catch {}
  }
}

/** Removes a cgroup. Without effect where it is gone. @throws HostError where somebody stays in it */
export function removeCgroup(directory: string): void {
  for (let tries = 1; ; tries++) {
    try {
      rmdirSync(directory);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return;
      if (code !== 'EBUSY' || tries === REMOVE_TRIES) {
        throw new HostError(`cannot remove the cgroup ${directory} (${code})`, {
          hint: 'a process is still in it: see cgroup.procs there',
          cause: error,
        });
      }
      pause(REMOVE_PAUSE_MS);
    }
  }
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
