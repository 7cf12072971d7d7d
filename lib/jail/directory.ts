import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { HostError } from '../errors.ts';
import { EAGAIN, SYS_flock } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';
import { parseMountinfo } from './mountinfo.ts';
import { removeCgroup, removeEmpty } from './remove.ts';
import { ancestors } from './root-plan.ts';

/** Firecracker's jailer names the directory after the program that it starts. */
export const PROGRAM_NAME = 'mvm';
const STATE_FILE = 'state.json';
const LOCK_EX = 2;
const LOCK_NB = 4;
/** Another start of the same id may end, and remove the directory, while we look at it. */
const CLAIM_TRIES = 10;
const GROUP_OR_OTHERS_MAY_WRITE = 0o022;
/** A group is often that of one user alone. */
const OTHERS_MAY_WRITE = 0o002;
const STICKY = 0o1000;

/** What was made outside of the directory, and is to be removed with it, whoever does that. */
export interface JailState {
  /** Mount point, and path below it. */
  readonly cgroups: readonly { readonly mountPoint: string; readonly path: readonly string[] }[];
  /** Directories of cgroups that were made for jails in general; they go when they are empty. */
  readonly parents: readonly string[];
  /** Directories above the jail's that were not there; they go when they are empty. */
  readonly directories: readonly string[];
}

const NOTHING: JailState = { cgroups: [], parents: [], directories: [] };

/**
 * The directory of one jail on the host, `<base>/mvm/<id>`. It is locked as long as the virtual machine lives, so that what a killed one left
 * behind is told from a running one.
 */
export class JailDirectory {
  readonly path: string;
  /** What becomes the virtual machine's root directory. */
  readonly root: string;
  readonly #lock: number;
  #state: JailState = NOTHING;
  /** Those above it that were made for it. */
  readonly #made: string[];

  private constructor(path: string, lock: number, made: string[]) {
    this.#made = made;
    this.path = path;
    this.root = join(path, 'root');
    this.#lock = lock;
  }

  /**
   * Makes and locks the directory, and removes what an earlier virtual machine with this id left behind.
   * @param own directories above that the last jail removes, whoever made them
   * @throws HostError where one with this id runs, or the directory is not ours to use
   */
  static claim(baseDirectory: string, id: string, own: readonly string[] = []): JailDirectory {
    const path = join(baseDirectory, PROGRAM_NAME, id);
    const made: string[] = [];
    for (let tries = 1; ; tries++) {
      made.push(...makeDirectories(path));
      const lock = openDirectory(path);
      if (lock === undefined) continue;
      try {
        checkOwner(baseDirectory, dirname(path), path);
        const locked = tryCall('syscall', SYS_flock, lock, LOCK_EX | LOCK_NB, 0, 0, 0, 0);
        if (locked === -EAGAIN) {
          throw new HostError(`a virtual machine with the id ${id} runs already`, {
            where: path,
            hint: 'stop it, or give this one another --id',
          });
        }
        if (locked < 0) throw new SystemError('flock', -locked, `lock ${path}`);
        const current = statSync(path, { throwIfNoEntry: false });
        if (current?.ino === fstatSync(lock).ino) {
          const directory = new JailDirectory(path, lock, [...made, ...own]);
          directory.#removeLeftovers();
          return directory;
        }
      } catch (error) {
        closeSync(lock);
        removeEmpty([...made, path]);
        throw error;
      }
      closeSync(lock);
      if (tries === CLAIM_TRIES)
        throw new HostError('other virtual machines come and go there all the time', { where: path });
    }
  }

  /** Notes what is about to be made, so that it can be removed whatever happens. */
  note(state: Omit<JailState, 'directories'>): void {
    this.#state = { ...state, directories: this.#above };
    writeFileSync(join(this.path, STATE_FILE), JSON.stringify(this.#state), { mode: 0o600 });
  }

  /** Removes everything, and gives the id free. */
  remove(): void {
    this.#removeContent();
    rmSync(join(this.path, STATE_FILE), { force: true });
    rmdirSync(this.path);
    removeEmpty(this.#above);
    closeSync(this.#lock);
  }

  /** Removes what can be removed, after an error that matters more; the rest is the next start's. */
  giveUp(): void {
    try {
      this.remove();
    } catch {
      closeSync(this.#lock);
    }
  }

  /** The directory of all jails goes with the last one, whoever made it. */
  get #above(): string[] {
    return [...new Set([...this.#made, dirname(this.path)])].sort();
  }

  #removeContent(): void {
    for (const { mountPoint, path } of this.#state.cgroups) removeCgroup(join(mountPoint, ...path));
    removeEmpty(this.#state.parents);
    rmSync(this.root, { recursive: true, force: true });
  }

  #removeLeftovers(): void {
    const names = readdirSync(this.path);
    if (names.length === 0) return;
    if (!names.includes(STATE_FILE) || names.some((name) => name !== STATE_FILE && name !== 'root')) {
      throw new HostError('this directory is there, but mvm did not make it', {
        where: this.path,
        hint: 'remove it, or give another --id',
      });
    }
    const mounted = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')).find(({ mountPoint }) =>
      mountPoint.startsWith(`${this.path}/`),
    );
    if (mounted !== undefined) {
      throw new HostError('something is mounted where an earlier virtual machine was', {
        where: mounted.mountPoint,
        hint: `umount ${mounted.mountPoint}`,
      });
    }
    this.#state = readState(join(this.path, STATE_FILE));
    this.#removeContent();
    // What it has made above is now ours to remove.
    this.#made.push(...this.#state.directories);
    this.#state = NOTHING;
  }
}

/** A start that was killed while it wrote the file has made nothing yet. */
function readState(file: string): JailState {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as JailState;
  } catch (error) {
    if (error instanceof SyntaxError) return NOTHING;
    throw error;
  }
}

/** Makes a directory and those above it. @returns those above it that were not there, the highest first */
function makeDirectories(path: string): string[] {
  try {
    const highest = mkdirSync(path, { recursive: true, mode: 0o755 });
    return highest === undefined ? [] : ancestors(path).filter((directory) => directory.startsWith(highest));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Another virtual machine was the last of those that had been there, and removed it under our hands.
    if (code === 'ENOENT') return [];
    throw new HostError(`cannot make the jail's directory (${code})`, {
      where: path,
      hint: 'name a directory that you may write: --chroot-base-dir',
      cause: error,
    });
  }
}

/** @returns undefined where it has gone meanwhile */
function openDirectory(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Who could rename or replace these directories could lead us to remove, or give away, something else. */
function checkOwner(base: string, ...own: readonly string[]): void {
  const uid = process.geteuid?.() ?? 0;
  for (const path of own) {
    const { uid: owner, mode } = lstatSync(path);
    if (owner !== uid || (mode & GROUP_OR_OTHERS_MAY_WRITE) !== 0) refuse(path);
  }
  for (const path of [...ancestors(base), base]) {
    const { uid: owner, mode } = statSync(path);
    // Root trusts the home directories of those for whom it works.
    const isTrusted = owner === 0 || owner === uid || (uid === 0 && path !== base);
    if (!isTrusted || ((mode & OTHERS_MAY_WRITE) !== 0 && (mode & STICKY) === 0)) refuse(path);
  }
}

function refuse(path: string): never {
  throw new HostError('this directory belongs to, or can be written by, others', {
    where: path,
    hint: 'name a directory of your own: --chroot-base-dir',
  });
}
