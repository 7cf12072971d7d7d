import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import type { HostView } from './host-view.ts';

/** Where `PATH` has a program that this process may run, or undefined. */
export function findProgram(host: HostView, name: string, path = process.env.PATH ?? ''): string | undefined {
  return path
    .split(':')
    .filter((directory) => directory.startsWith('/'))
    .map((directory) => join(directory, name))
    .find((file) => isProgram(host.path(file)));
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
