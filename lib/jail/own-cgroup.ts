import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { removeCgroup } from './remove.ts';

/**
 * The cgroup that mvm itself is in. A cgroup v2 that hands controllers down has no processes of its own, so who got one for itself, as a user does from
 * systemd-run(1), has to leave it for one below.
 */
export class OwnCgroup {
  readonly directory: string;
  /** The one below that mvm goes to. */
  readonly below: string;
  #handedDown: readonly string[] | undefined;

  constructor(directory: string, id: string) {
    this.directory = directory;
    this.below = join(directory, `mvm-outside-${id}`);
  }

  /** Goes to the one below, and hands controllers down. @throws where others are in the cgroup as well */
  leave(controllers: readonly string[]): void {
    mkdirSync(this.below);
    this.#handedDown = controllers;
    move(this.directory, this.below);
    handDown(this.directory, '+', controllers);
  }

  /** Goes back, and leaves everything as it was. */
  comeBack(): void {
    if (this.#handedDown === undefined) return;
    handDown(this.directory, '-', this.#handedDown);
    move(this.below, this.directory);
    this.#handedDown = undefined;
    // A passt that was with us ends with the virtual machine, but not at once.
    removeCgroup(this.below);
  }
}

/** Moves this process and those that it has started, such as passt. */
function move(from: string, to: string): void {
  const processes = readFileSync(join(from, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  for (const pid of processes) {
    if (pid === process.pid || parentOf(pid) === process.pid) writeFileSync(join(to, 'cgroup.procs'), String(pid));
  }
}

/** Undefined where it has ended. */
function parentOf(pid: number): number | undefined {
  try {
    return Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
  } catch {
    return undefined;
  }
}

/** Switches controllers on or off for what is below. */
export function handDown(directory: string, sign: '+' | '-', controllers: readonly string[]): void {
  writeFileSync(join(directory, 'cgroup.subtree_control'), controllers.map((name) => `${sign}${name}`).join(' '));
}
