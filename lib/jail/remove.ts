import { rmdirSync } from 'node:fs';

/** Removes directories in which nothing is left, the last first: others may have come to use them too. */
export function removeEmpty(directories: readonly string[]): void {
  for (const directory of directories.toReversed()) {
    try {
      rmdirSync(directory);
    } catch {}
  }
}
