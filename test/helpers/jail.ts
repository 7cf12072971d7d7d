import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { EXECUTABLE, Mvm } from './mvm.ts';

/** Namespaces of a process, by their names in /proc/PID/ns. */
export const NAMESPACES = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'] as const;
export type Namespace = (typeof NAMESPACES)[number];

/** Who starts mvm as an ordinary user. */
export const USER = { uid: 4321, gid: 4322 };

/**
 * Runs a command as an ordinary user who may use /dev/kvm and has a folder: in a mount namespace, where device and executable lie where the
 * user may have them, so that the host stays as it is.
 */
const AS_USER = `
[ -e "$1/kvm" ] || mknod --mode=666 "$1/kvm" c 10 232
mount --bind "$1/kvm" /dev/kvm
touch "$1/mvm"
mount --bind "$2" "$1/mvm"
folder=$1
shift 3
exec setpriv --reuid ${USER.uid} --regid ${USER.gid} --clear-groups env -i PATH="$PATH" HOME="$folder" XDG_RUNTIME_DIR="$folder" "$folder/mvm" "$@"
`;

/** What precedes the executable's name where mvm is to be run by an ordinary user, whose folder this is. */
export function asUser(folder: string): string[] {
  return ['unshare', '--mount', 'sh', '-ec', AS_USER, 'sh', folder, EXECUTABLE];
}

/** Puts files where everybody may read them: the user's, who has no way into the folders of others. @returns their new paths */
export function copyTo(folder: string, ...files: readonly string[]): string[] {
  return files.map((file) => {
    const copy = join(folder, basename(file));
    copyFileSync(file, copy);
    return copy;
  });
}

/** A folder that lasts as long as the test, and that everybody may look into. */
export function folderFor(t: ExecutionContext, owner?: { uid: number; gid: number }): string {
  const folder = mkdtempSync(join(tmpdir(), 'mvm-jail-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  execFileSync('chmod', ['755', folder]);
  if (owner !== undefined) execFileSync('chown', [`${owner.uid}:${owner.gid}`, folder]);
  return folder;
}

/** A running `mvm run --jail`. */
export class Jailed extends Mvm {
  readonly base: string;
  readonly id: string;

  /** @param base its --chroot-base-dir */
  constructor(base: string, id: string, args: readonly string[], via?: readonly string[]) {
    super(['run', '--jail', '--id', id, '--chroot-base-dir', base, ...args], via);
    this.base = base;
    this.id = id;
  }

  /** The root directory as the host sees it. */
  get root(): string {
    return join(this.base, 'mvm', this.id, 'root');
  }

  /** The process in the jail. */
  get pid(): number {
    return Number(readFileSync(join(this.root, 'mvm.pid'), 'utf8'));
  }
}

/** A line of /proc/PID/status (or of a thread's), without its name. */
export function statusOf(path: string, name: string): string {
  const line = new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(readFileSync(join('/proc', path, 'status'), 'utf8'))?.[1];
  if (line === undefined) throw new Error(`/proc/${path}/status has no ${name}`);
  return line.trim().replace(/\s+/g, ' ');
}

export function threadsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).map((id) => `${pid}/task/${id}`);
}

/** Those of the process that are not ours. */
export function ownNamespaces(pid: number): Namespace[] {
  return NAMESPACES.filter((name) => readlinkSync(`/proc/${pid}/ns/${name}`) !== readlinkSync(`/proc/self/ns/${name}`));
}

/** Whether a process is there, and no zombie. */
export function isRunning(pid: number): boolean {
  try {
    return !statusOf(String(pid), 'State').startsWith('Z');
  } catch {
    return false;
  }
}
