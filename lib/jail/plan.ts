import { join } from 'node:path';
import { HostError } from '../errors.ts';
import type { JailSettings } from './options.ts';

/** Who starts mvm. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  /** `$XDG_RUNTIME_DIR`, if it is set. */
  readonly runtimeDirectory: string | undefined;
}

/** Debian's, and most others', `nobody` and `nogroup`. */
export const NOBODY = 65534;
const BASE_DIRECTORY = '/srv/jailer';

/** What the jail is to be, all choices made. */
export interface JailPlan {
  readonly baseDirectory: string;
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
  if (caller.uid === 0) {
    return {
      baseDirectory: settings.baseDirectory ?? BASE_DIRECTORY,
      identity: { uid: settings.uid ?? NOBODY, gid: settings.gid ?? NOBODY },
      isRootless: false,
      warnings,
    };
  }
  for (const name of ['uid', 'gid'] as const) {
    const wanted = settings[name];
    if (wanted === undefined || wanted === caller[name]) continue;
    warnings.push(`--${name} ${wanted}: only root can become another; the virtual machine stays with ${caller[name]}`);
  }
  if (settings.netns !== undefined) {
    throw new HostError('only root can enter a network namespace', {
      where: '--netns',
      hint: 'start mvm in it (ip netns exec), leave it out, or run mvm as root',
    });
  }
  const { uid, gid, runtimeDirectory } = caller;
  return {
    baseDirectory: settings.baseDirectory ?? join(runtimeDirectory ?? `/tmp/mvm-${uid}`, 'jailer'),
    identity: { uid, gid },
    isRootless: true,
    warnings,
  };
}
