import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { HostError } from '../errors.ts';
import type { PlannedCgroup } from './cgroup-plan.ts';
import type { CgroupSetting } from './options.ts';
import { handDown, type OwnCgroup } from './own-cgroup.ts';

/** Another jail may remove a common parent just when we want to be under it. */
const MAKE_TRIES = 5;

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'unknown error';

/** We may not use the cgroup: it belongs to root, or to nobody here. */
export class CgroupPermissionError extends HostError {
  constructor(message: string, where: string, cause: unknown) {
    super(message, {
      where,
      cause,
      hint: 'start mvm as root, or in a delegated scope: systemd-run --user --scope -p Delegate=yes mvm …',
    });
  }
}

const isRefusal = (code: string): boolean => code === 'EACCES' || code === 'EPERM' || code === 'EROFS';

/** The cgroup's directory. */
export function directoryOf({ mountPoint, path }: PlannedCgroup): string {
  return join(mountPoint, ...path);
}

/** A jail's own cgroup is for it alone. @throws HostError where somebody is in it */
export function checkUnused(planned: PlannedCgroup): void {
  if (!planned.isOwn) return;
  const directory = directoryOf(planned);
  const processes = readIfThere(join(directory, 'cgroup.procs')).trim();
  if (processes === '') return;
  throw new HostError(`the cgroup ${directory} is in use, by process ${processes.split('\n').join(', ')}`, {
    where: '--cgroup',
    hint: 'give another --id or --parent-cgroup',
  });
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return '';
    throw error;
  }
}

/**
 * Makes a cgroup, and writes its limits.
 * @param own where mvm itself is, which it may leave
 * @throws HostError where the host does not let us
 */
export function makeCgroup(planned: PlannedCgroup, own?: OwnCgroup): void {
  const directory = directoryOf(planned);
  if (!planned.isOwn) {
    if (existsSync(join(directory, 'cgroup.procs'))) return;
    throw new HostError('there is no such cgroup', { where: `--parent-cgroup ${planned.path.join('/')}` });
  }
  makeDirectories(planned, own);
  for (const setting of planned.settings) writeLimit(directory, setting);
}

/**
 * Opens the file through which a process joins the cgroup by writing "0". Whoever opens it needs the permission, not the one that joins.
 * @returns its descriptor
 */
export function openProcesses(planned: PlannedCgroup): number {
  const directory = directoryOf(planned);
  try {
    return openSync(join(directory, 'cgroup.procs'), 'r+');
  } catch (error) {
    const where = planned.isOwn ? '--cgroup' : '--parent-cgroup';
    throw new CgroupPermissionError(`cannot join the cgroup ${directory} (${codeOf(error)})`, where, error);
  }
}

/** Directories of cgroups above a planned one that are not there yet, the highest first. */
export function missingParents({ mountPoint, path }: PlannedCgroup): string[] {
  return path
    .slice(0, -1)
    .map((_, index) => join(mountPoint, ...path.slice(0, index + 1)))
    .filter((directory) => !existsSync(directory));
}

function makeDirectories(planned: PlannedCgroup, own: OwnCgroup | undefined): void {
  const { mountPoint, path, version, controllers } = planned;
  for (let tries = 1; ; tries++) {
    try {
      let directory = mountPoint;
      for (const part of path) {
        if (version === 2) enableControllers(directory, controllers, own);
        directory = join(directory, part);
        makeDirectory(directory);
        if (version === 1) inheritCpuset(directory);
      }
      return;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || tries === MAKE_TRIES) throw error;
    }
  }
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST') return;
    if (code === 'ENOENT') throw error;
    const message = `cannot make the cgroup ${directory} (${code})`;
    if (isRefusal(code)) throw new CgroupPermissionError(message, '--cgroup', error);
    throw new HostError(message, { where: '--cgroup', cause: error });
  }
}

/** cgroup v2: a cgroup has the controllers that its parent hands down (cgroup.subtree_control). */
function enableControllers(directory: string, controllers: readonly string[], own: OwnCgroup | undefined): void {
  const file = join(directory, 'cgroup.subtree_control');
  const enabled = readFileSync(file, 'utf8').split(/\s+/);
  const missing = controllers.filter((controller) => !enabled.includes(controller));
  if (missing.length === 0) return;
  try {
    try {
      handDown(directory, '+', missing);
    } catch (error) {
      if (codeOf(error) !== 'EBUSY' || own?.directory !== directory) throw error;
      own.leave(missing);
    }
  } catch (error) {
    const code = codeOf(error);
    const message = `cannot use ${missing.join(' and ')} below the cgroup ${directory} (${code})`;
    if (isRefusal(code)) throw new CgroupPermissionError(message, '--cgroup', error);
    throw new HostError(message, {
      where: '--cgroup',
      cause: error,
      ...(code === 'EBUSY'
        ? { hint: 'processes are in it themselves, which cgroup v2 does not allow: name another --parent-cgroup' }
        : {}),
    });
  }
}

/** cgroup v1: processes can only join a cpuset whose CPUs and memory nodes are set; a new one has none. */
function inheritCpuset(directory: string): void {
  for (const name of ['cpuset.cpus', 'cpuset.mems']) {
    const file = join(directory, name);
    if (!existsSync(file) || readFileSync(file, 'utf8').trim() !== '') continue;
    writeFileSync(file, readFileSync(join(directory, '..', name)));
  }
}

function writeLimit(directory: string, { file, value }: CgroupSetting): void {
  const path = join(directory, file);
  const where = `--cgroup ${file}`;
  if (!existsSync(path)) {
    throw new HostError(`the cgroup ${directory} has no such file`, { where, hint: `see ls ${dirname(directory)}` });
  }
  try {
    const fd = openSync(path, 'w');
    try {
      writeFileSync(fd, value);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new HostError(`the kernel does not take ${JSON.stringify(value)} (${codeOf(error)})`, {
      where,
      cause: error,
    });
  }
}
