import { resolve } from 'node:path';
import type { Problem } from '../config/problems.ts';

/** The options of `mvm run` that are about the jail, as they were given. Names and meanings are those of Firecracker's jailer. */
export interface JailOptions {
  readonly jail?: boolean | undefined;
  readonly uid?: string | undefined;
  readonly gid?: string | undefined;
  readonly 'chroot-base-dir'?: string | undefined;
  readonly cgroup?: readonly string[] | undefined;
  readonly 'cgroup-version'?: string | undefined;
  readonly 'parent-cgroup'?: string | undefined;
  readonly netns?: string | undefined;
  readonly daemonize?: boolean | undefined;
  readonly 'new-pid-ns'?: boolean | undefined;
}

/** A file of a cgroup, and what is to be written to it. */
export interface CgroupSetting {
  /** `memory.max`: the name up to the first dot is the controller's. */
  readonly file: string;
  readonly value: string;
}

/** What the options ask for; `undefined` leaves the choice to mvm. */
export interface JailSettings {
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  /** Absolute. */
  readonly baseDirectory: string | undefined;
  readonly cgroups: readonly CgroupSetting[];
  readonly cgroupVersion: 1 | 2 | undefined;
  /** Relative to a hierarchy's root. */
  readonly parentCgroup: string | undefined;
  /** Absolute. */
  readonly netns: string | undefined;
  readonly daemonize: boolean;
  readonly newPidNamespace: boolean;
}

/** (uid_t)-1 is nobody's. */
const MAX_ID = 2 ** 32 - 2;

type Report = (option: keyof JailOptions, message: string, hint?: string) => void;

/**
 * Reads the options.
 * @param cwd where relative paths begin
 * @returns undefined where no jail is asked for; and everything that is wrong
 */
export function parseJailOptions(
  options: JailOptions,
  cwd: string,
): { readonly settings: JailSettings | undefined; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const report: Report = (option, message, hint) =>
    problems.push({ kind: 'usage', where: `--${option}`, message, ...(hint === undefined ? {} : { hint }) });
  if (options.jail !== true) {
    for (const name of JAIL_OPTION_NAMES) {
      if (name !== 'jail' && options[name] !== undefined) report(name, 'has no use without a jail', 'add --jail');
    }
    return { settings: undefined, problems };
  }
  const settings: JailSettings = {
    uid: parseId('uid', options.uid, report),
    gid: parseId('gid', options.gid, report),
    baseDirectory: parsePath('chroot-base-dir', options['chroot-base-dir'], cwd, report),
    cgroups: parseCgroups(options.cgroup ?? [], report),
    cgroupVersion: parseVersion(options['cgroup-version'], report),
    parentCgroup: parseParent(options['parent-cgroup'], report),
    netns: parsePath('netns', options.netns, cwd, report),
    daemonize: options.daemonize === true,
    newPidNamespace: options['new-pid-ns'] !== false,
  };
  if (settings.uid === 0) report('uid', 'must not be 0, which is root', 'give the number of an ordinary user');
  return { settings, problems };
}

export const JAIL_OPTION_NAMES = [
  'jail',
  'uid',
  'gid',
  'chroot-base-dir',
  'cgroup',
  'cgroup-version',
  'parent-cgroup',
  'netns',
  'daemonize',
  'new-pid-ns',
] as const satisfies readonly (keyof JailOptions)[];

function parseId(option: 'uid' | 'gid', text: string | undefined, report: Report): number | undefined {
  if (text === undefined) return undefined;
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (id <= MAX_ID) return id;
  report(option, `must be a number from 0 to ${MAX_ID}, not ${JSON.stringify(text)}`, 'see id(1) for the number');
  return undefined;
}

function parsePath(
  option: 'chroot-base-dir' | 'netns',
  text: string | undefined,
  cwd: string,
  report: Report,
): string | undefined {
  if (text === '') report(option, 'is empty', 'give a path');
  return text === undefined ? undefined : resolve(cwd, text);
}

function parseVersion(text: string | undefined, report: Report): 1 | 2 | undefined {
  if (text === undefined) return undefined;
  if (text === '1') return 1;
  if (text === '2') return 2;
  report('cgroup-version', `must be 1 or 2, not ${JSON.stringify(text)}`);
  return undefined;
}

function parseCgroups(texts: readonly string[], report: Report): CgroupSetting[] {
  return texts.flatMap((text) => {
    const [, file, value] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    if (file === undefined || value === undefined || value === '') {
      report('cgroup', `${JSON.stringify(text)} is not FILE=VALUE`, 'give it as memory.max=536870912');
      return [];
    }
    if (!/^[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+$/.test(file)) {
      report('cgroup', `${JSON.stringify(file)} is no file of a cgroup`, 'name one as memory.max or cpu.cfs_quota_us');
      return [];
    }
    if (file === 'cgroup.procs' || file === 'cgroup.threads') {
      report('cgroup', `${file} is written by mvm itself`, 'leave it out');
      return [];
    }
    return [{ file, value }];
  });
}

function parseParent(text: string | undefined, report: Report): string | undefined {
  if (text === undefined) return undefined;
  if (text.startsWith('/')) {
    report('parent-cgroup', `must be relative to the root of the cgroups, not ${text}`, `give it as ${text.slice(1)}`);
    return undefined;
  }
  const parts = text.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length === 0 || parts.includes('..')) {
    report('parent-cgroup', `${JSON.stringify(text)} names no cgroup`, 'give a path without «..», as machines/web');
    return undefined;
  }
  return parts.join('/');
}
