import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** The host's files as probes see them; tests give another root, with the /proc and /sys of other hosts in it. */
export class HostView {
  readonly #root: string;

  constructor(root = '/') {
    this.#root = root;
  }

  path(path: string): string {
    return join(this.#root, path);
  }

  exists(path: string): boolean {
    return existsSync(this.path(path));
  }

  /** The file's text without blanks around it; undefined where there is none, or it cannot be read. */
  read(path: string): string | undefined {
    try {
      return readFileSync(this.path(path), 'utf8').trim();
    } catch {
      return undefined;
    }
  }

  /** A file that holds one number. */
  readNumber(path: string): number | undefined {
    const text = this.read(path);
    return text === undefined || !/^-?\d+$/.test(text) ? undefined : Number(text);
  }

  /** A file that lists words and marks the chosen one: `always [madvise] never`. */
  readChoice(path: string): string | undefined {
    return /\[([^\]]+)\]/.exec(this.read(path) ?? '')?.[1];
  }

  /** Whether this process may read and write it. */
  isWritable(path: string): boolean {
    try {
      accessSync(this.path(path), constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  }

  /** Permission bits, as in `0660`, and the numbers of its owner and group. */
  ownership(path: string): { mode: string; uid: number; gid: number } | undefined {
    try {
      const { mode, uid, gid } = statSync(this.path(path));
      return { mode: (mode & 0o7777).toString(8).padStart(4, '0'), uid, gid };
    } catch {
      return undefined;
    }
  }

  /** The name of a group, or its number. */
  groupName(gid: number): string {
    const line = this.read('/etc/group')
      ?.split('\n')
      .find((entry) => entry.split(':')[2] === String(gid));
    return line?.split(':')[0] ?? String(gid);
  }
}
