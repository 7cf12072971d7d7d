import { join } from 'node:path';
import type { VmConfig } from '../config/types.ts';
import { CgroupPermissionError, checkUnused, makeCgroup, missingParents, openProcesses } from './cgroup.ts';
import { chooseCgroups, findOwnCgroup } from './cgroup-choice.ts';
import { DEFAULT_PARENT, type PlannedCgroup } from './cgroup-plan.ts';
import { moveUp } from './descriptors.ts';
import { JailDirectory } from './directory.ts';
import { openNetNamespace } from './netns.ts';
import type { JailSettings } from './options.ts';
import type { OwnCgroup } from './own-cgroup.ts';
import type { JailPlan } from './plan.ts';
import { kindOnHost } from './root.ts';
import { planRoot, type RootPlan } from './root-plan.ts';

/** A cgroup, and the descriptor through which a process joins it. */
export interface JoinedCgroup {
  readonly cgroup: PlannedCgroup;
  readonly fd: number;
}

/** Where a jail is on the host: its directory and its cgroups. */
export class JailPlace {
  readonly directory: JailDirectory;
  readonly rootPlan: RootPlan;
  readonly netns: number | undefined;
  readonly joined: readonly JoinedCgroup[];
  /** Where an ordinary user has its limits. */
  readonly #ownCgroup: OwnCgroup | undefined;

  /**
   * @param warn takes a line for what an ordinary user cannot have
   * @throws HostError where something cannot be had; nothing is left behind then
   */
  constructor(config: VmConfig, settings: JailSettings, plan: JailPlan, warn: (message: string) => void) {
    // First what only looks: most of what is wrong shows before anything is made.
    this.netns = settings.netns === undefined ? undefined : moveUp(openNetNamespace(settings.netns));
    const planned = chooseCgroups(settings, config.id, plan.isRootless);
    this.rootPlan = planRoot(config, kindOnHost);
    if (plan.isRootless && planned.length > 0) this.#ownCgroup = findOwnCgroup(config.id);
    this.directory = JailDirectory.claim(plan.baseDirectory, config.id, plan.ownDirectories);
    try {
      for (const cgroup of planned) checkUnused(cgroup);
      const own = planned.filter(({ isOwn }) => isOwn);
      this.directory.note({
        cgroups: own.map(({ mountPoint, path }) => ({ mountPoint, path })),
        parents: [
          ...new Set(own.flatMap((one) => [...missingParents(one), ...commonParent(one)])),
          ...(this.#ownCgroup === undefined ? [] : [this.#ownCgroup.below]),
        ],
      });
      this.joined = makeCgroups(planned, this.#ownCgroup, plan.isRootless ? warn : undefined);
    } catch (error) {
      this.giveUp();
      throw error;
    }
  }

  /** Removes everything from the host. */
  remove(): void {
    this.directory.remove();
    this.#ownCgroup?.comeBack();
  }

  /** Removes what can be removed, after an error that matters more. */
  giveUp(): void {
    this.directory.giveUp();
    try {
      this.#ownCgroup?.comeBack();
    } catch {}
  }
}

/** The cgroup of all jails goes with the last one, whoever made it. */
function commonParent({ mountPoint, path }: PlannedCgroup): string[] {
  return path.length === 2 && path[0] === DEFAULT_PARENT ? [join(mountPoint, DEFAULT_PARENT)] : [];
}

/**
 * Makes the cgroups.
 * @param warn takes the place of an error where an ordinary user has no permission to
 */
function makeCgroups(
  planned: readonly PlannedCgroup[],
  own: OwnCgroup | undefined,
  warn: ((message: string) => void) | undefined,
): JoinedCgroup[] {
  return planned.flatMap((cgroup) => {
    try {
      makeCgroup(cgroup, own);
      return [{ cgroup, fd: moveUp(openProcesses(cgroup)) }];
    } catch (error) {
      if (warn === undefined || !(error instanceof CgroupPermissionError)) throw error;
      warn(`without limits: ${error.toLine()}`);
      return [];
    }
  });
}
