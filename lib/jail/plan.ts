import { join } from 'node:path';
import { HostError } from '../errors.ts';
import type { JailSettings } from './options.ts';

/** Who starts mvm. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  /** `$XDG_RUNTIME_DIR`, if it is set. */
  readonly runtimeDirectory: string | undefined;
  /** The texts of /proc/self/uid_map, gid_map and setgroups: root of a namespace of users cannot become whom it has not got. */
  readonly uidMap: string;
  readonly gidMap: string;
  readonly setgroups: string;
}

/** Debian's, and most others', `nobody` and `nogroup`. */
export const NOBODY = 65534;
const BASE_DIRECTORY = '/srv/jailer';

/** What the jail is to be, all choices made. */
export interface JailPlan {
  readonly baseDirectory: string;
  /** Directories that are for jails alone, so that the last one removes them, the highest first. */
  readonly ownDirectories: readonly string[];
  /** Whose the virtual machine is. */
  readonly identity: { readonly uid: number; readonly gid: number };
  /** Whether an ordinary user makes it, who becomes nobody else, and needs a namespace of users. */
  readonly isRootless: boolean;
  /** What was asked for and cannot be had, a line each. */
  readonly warnings: readonly string[];
}

/** @throws HostError where something was asked for without which the jail would be none */
export function planJail(settings: JailSettings, caller: Caller): JailPlan {
  const warnings: string[] = [];
  const wanted = { uid: settings.uid ?? NOBODY, gid: settings.gid ?? NOBODY };
  if (caller.uid === 0 && canBecome(caller, wanted)) {
    return {
      baseDirectory: settings.baseDirectory ?? BASE_DIRECTORY,
      ownDirectories: settings.baseDirectory === undefined ? [BASE_DIRECTORY] : [],
      identity: wanted,
      isRootless: false,
      warnings,
    };
  }
  for (const name of ['uid', 'gid'] as const) {
    const id = settings[name];
    if (id === undefined || id === caller[name]) continue;
    const who = caller.uid === 0 ? "this namespace's root" : 'only root';
    const cannot = caller.uid === 0 ? 'cannot become it' : 'can become another';
    warnings.push(`--${name} ${id}: ${who} ${cannot}; the virtual machine stays with ${caller[name]}`);
  }
  if (settings.netns !== undefined) {
    throw new HostError('only root can enter a network namespace', {
      where: '--netns',
      hint: 'start mvm in it (ip netns exec), leave it out, or run mvm as root',
    });
  }
  const { uid, gid, runtimeDirectory } = caller;
  const above = runtimeDirectory ?? `/tmp/mvm-${uid}`;
  const usual = join(above, 'jailer');
  return {
    baseDirectory: settings.baseDirectory ?? usual,
    ownDirectories: settings.baseDirectory !== undefined ? [] : [...(above === runtimeDirectory ? [] : [above]), usual],
    identity: { uid, gid },
    isRootless: true,
    warnings,
  };
}

function canBecome({ uidMap, gidMap, setgroups }: Caller, { uid, gid }: { uid: number; gid: number }): boolean {
  return setgroups.trim() !== 'deny' && hasId(uidMap, uid) && hasId(gidMap, gid);
}

/** Each line of the map is: first number inside, first number outside, how many (user_namespaces(7)). */
function hasId(map: string, id: number): boolean {
  return map.split('\n').some((line) => {
    const [first = Number.NaN, , count = 0] = line.trim().split(/\s+/).map(Number);
    return id >= first && id < first + count;
  });
}
