import { closeSync, openSync, readSync } from 'node:fs';
import { SYS_getpgid } from '../ffi/constants.ts';
import { tryCall } from '../ffi/libc.ts';

/** Fields of /proc/PID/stat behind the name, which is in brackets: proc_pid_stat(5). */
const PGRP = 2;
const TPGID = 5;
const LONGEST_STAT = 1024;

/** Our process group, and whether a terminal listens to it. */
export class ProcessGroup {
  /**
   * In a namespace of processes of our own all groups outside are 0, ours too where we did not make it. Then this file tells, which was opened
   * where the caller's numbers are seen, and goes on telling those.
   */
  readonly #stat: number | undefined;
  /** Shells set it before they start a program, and never again. */
  readonly #own = tryCall('syscall', SYS_getpgid, 0, 0, 0, 0, 0, 0);

  constructor() {
    this.#stat = this.#own === 0 ? openStat() : undefined;
  }

  /** @param fd refers to a terminal */
  isForegroundOf(fd: number): boolean {
    const group = tryCall('tcgetpgrp', fd);
    // ENOTTY: it is a terminal, but not our controlling one; nobody stops us there.
    if (group < 0) return true;
    if (this.#stat === undefined) return group === this.#own;
    const buffer = Buffer.alloc(LONGEST_STAT);
    const text = buffer.toString('latin1', 0, readSync(this.#stat, buffer, 0, LONGEST_STAT, 0));
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[PGRP] === fields[TPGID];
  }

  close(): void {
    if (this.#stat !== undefined) closeSync(this.#stat);
  }
}

function openStat(): number | undefined {
  try {
    return openSync('/proc/self/stat', 'r');
  } catch {
    return undefined;
  }
}
