import { chownSync, closeSync, lstatSync, mkdirSync, openSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../errors.ts';
import type { FileKind, RootPlan } from './root-plan.ts';

/** The process id of the virtual machine is in this file of its root directory, as with Firecracker's jailer. */
export const PID_FILE = 'mvm.pid';

/** What is at a path of the host; undefined: nothing. @throws ConfigError where we may not look */
export function kindOnHost(path: string): FileKind | undefined {
  const status = look(path);
  if (status === undefined) return undefined;
  if (status.isDirectory()) return 'directory';
  return status.isBlockDevice() || status.isCharacterDevice() ? 'device' : 'file';
}

function look(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError(`cannot be looked at (${code})`, {
      where: path,
      hint: 'give mvm access to it and to the directories above',
      cause: error,
    });
  }
}

/**
 * Makes the root directory on the host, with what files are to be mounted on.
 * @param root its path
 * @param owner whose the directory of the socket becomes; undefined: it stays ours
 * @returns the descriptor of the file for the process id, open for writing
 */
export function makeRoot(root: string, plan: RootPlan, owner: { uid: number; gid: number } | undefined): number {
  mkdirSync(root, { mode: 0o755 });
  const pidFile = openSync(join(root, PID_FILE), 'wx', 0o644);
  for (const directory of plan.directories) mkdirSync(join(root, directory), { mode: 0o755 });
  for (const { path, kind } of plan.files) {
    const target = join(root, path);
    if (kind === 'directory') mkdirSync(target, { recursive: true, mode: 0o755 });
    // The socket may be wanted where a file already is: binding it says so.
    else if (lstatSync(target, { throwIfNoEntry: false }) === undefined) closeSync(openSync(target, 'wx', 0o600));
  }
  if (plan.socketDirectory !== undefined && owner !== undefined) {
    chownSync(join(root, plan.socketDirectory), owner.uid, owner.gid);
  }
  return pidFile;
}
