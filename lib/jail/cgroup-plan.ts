import { join } from 'node:path';
import { HostError } from '../errors.ts';
import { parseMountinfo } from './mountinfo.ts';
import type { CgroupSetting, JailSettings } from './options.ts';

/** A mounted hierarchy of cgroups (cgroups(7)). */
export interface Hierarchy {
  readonly version: 1 | 2;
  readonly mountPoint: string;
  readonly controllers: readonly string[];
}

/** One cgroup that the jail is to be in. */
export interface PlannedCgroup {
  readonly version: 1 | 2;
  readonly mountPoint: string;
  /** Relative to the mount point: those above it, and its own. */
  readonly path: readonly string[];
  readonly controllers: readonly string[];
  readonly settings: readonly CgroupSetting[];
  /** Whether it is the jail's own; otherwise it is another one that the jail joins, and that stays. */
  readonly isOwn: boolean;
}

/** The cgroup above the jails', where no option names one. */
export const DEFAULT_PARENT = 'mvm';
/** Files that every cgroup v2 has, whatever its controllers. */
const CORE = 'cgroup';

/**
 * Finds the hierarchies.
 * @param mountinfo the text of /proc/self/mountinfo
 * @param read reads a file; undefined where it cannot
 */
export function findHierarchies(mountinfo: string, read: (path: string) => string | undefined): Hierarchy[] {
  const found: Hierarchy[] = [];
  for (const { mountPoint, type, superOptions } of parseMountinfo(mountinfo)) {
    if (type === 'cgroup') {
      const controllers = superOptions.filter((option) => !['rw', 'ro'].includes(option) && !option.includes('='));
      found.push({ version: 1, mountPoint, controllers });
    } else if (type === 'cgroup2') {
      const controllers = (read(join(mountPoint, 'cgroup.controllers')) ?? '').split(/\s+/).filter(Boolean);
      found.push({ version: 2, mountPoint, controllers });
    }
  }
  return found;
}

/** `memory` of `memory.max`. */
export function controllerOf({ file }: CgroupSetting): string {
  return file.slice(0, file.indexOf('.'));
}

type CgroupChoice = Pick<JailSettings, 'cgroups' | 'cgroupVersion' | 'parentCgroup'>;

/**
 * Decides which cgroups are made, as Firecracker's jailer does: `<hierarchy>/<parent>/<id>` for each hierarchy that has one of the controllers.
 * @param defaultParent relative to the hierarchy's root
 * @throws HostError where the host has not got a controller
 */
export function planCgroups(
  { cgroups, cgroupVersion, parentCgroup }: CgroupChoice,
  id: string,
  hierarchies: readonly Hierarchy[],
  defaultParent: (hierarchy: Hierarchy) => string = () => DEFAULT_PARENT,
): PlannedCgroup[] {
  const above = (hierarchy: Hierarchy) =>
    (parentCgroup ?? defaultParent(hierarchy)).split('/').filter((part) => part !== '');
  if (cgroups.length === 0) {
    // Firecracker's meaning of a parent without limits, in version 2: the jail joins the parent itself.
    const unified = hierarchies.find(({ version }) => version === 2);
    if (parentCgroup === undefined || cgroupVersion === 1 || unified === undefined) return [];
    const { version, mountPoint } = unified;
    return [{ version, mountPoint, path: above(unified), controllers: [], settings: [], isOwn: false }];
  }
  const version = cgroupVersion ?? preferredVersion(cgroups, hierarchies);
  const planned = new Map<Hierarchy, CgroupSetting[]>();
  for (const setting of cgroups) {
    const hierarchy = hierarchyOf(setting, version, hierarchies);
    planned.set(hierarchy, [...(planned.get(hierarchy) ?? []), setting]);
  }
  return [...planned].map(([hierarchy, settings]) => ({
    version: hierarchy.version,
    mountPoint: hierarchy.mountPoint,
    path: [...above(hierarchy), id],
    controllers: [...new Set(settings.map(controllerOf))].filter((name) => name !== CORE),
    settings,
    isOwn: true,
  }));
}

/** Version 2 where it has all that is asked for. */
function preferredVersion(settings: readonly CgroupSetting[], hierarchies: readonly Hierarchy[]): 1 | 2 {
  return settings.every((setting) => find(setting, 2, hierarchies) !== undefined) ? 2 : 1;
}

function hierarchyOf(setting: CgroupSetting, version: 1 | 2, hierarchies: readonly Hierarchy[]): Hierarchy {
  const hierarchy = find(setting, version, hierarchies);
  if (hierarchy !== undefined) return hierarchy;
  const other = version === 1 ? 2 : 1;
  const controller = controllerOf(setting);
  throw new HostError(`this host has no cgroup v${version} with the controller ${controller}`, {
    where: `--cgroup ${setting.file}`,
    hint:
      find(setting, other, hierarchies) === undefined
        ? '`mvm doctor` tells what it has'
        : `version ${other} has it: give --cgroup-version ${other}, and its name for the limit`,
  });
}

function find(setting: CgroupSetting, version: 1 | 2, hierarchies: readonly Hierarchy[]): Hierarchy | undefined {
  const controller = controllerOf(setting);
  return hierarchies.find(
    (hierarchy) =>
      hierarchy.version === version &&
      (hierarchy.controllers.includes(controller) || (version === 2 && controller === CORE)),
  );
}
