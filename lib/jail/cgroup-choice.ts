import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_PARENT, findHierarchies, type Hierarchy, type PlannedCgroup, planCgroups } from './cgroup-plan.ts';
import type { JailSettings } from './options.ts';
import { OwnCgroup } from './own-cgroup.ts';

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * Decides which cgroups the jail gets on this host.
 * @param isRootless an ordinary user has no cgroup but the one that was delegated to it, which it is in
 * @throws HostError where the host has not got a controller
 */
export function chooseCgroups(settings: JailSettings, id: string, isRootless: boolean): PlannedCgroup[] {
  if (settings.cgroups.length === 0 && settings.parentCgroup === undefined) return [];
  const hierarchies = findHierarchies(read('/proc/self/mountinfo') ?? '', read);
  const own = read('/proc/self/cgroup') ?? '';
  return planCgroups(settings, id, hierarchies, (hierarchy) =>
    isRootless ? ownCgroup(own, hierarchy) : DEFAULT_PARENT,
  );
}

/** The cgroup v2 that we are in, if there is any. */
export function findOwnCgroup(id: string): OwnCgroup | undefined {
  const unified = findHierarchies(read('/proc/self/mountinfo') ?? '', read).find(({ version }) => version === 2);
  if (unified === undefined) return undefined;
  return new OwnCgroup(join(unified.mountPoint, ownCgroup(read('/proc/self/cgroup') ?? '', unified)), id);
}

/** The cgroup that we are in, relative to the hierarchy's root: a line of /proc/self/cgroup is `id:controllers:path`. */
export function ownCgroup(text: string, { version, controllers }: Hierarchy): string {
  const lines = text.split('\n').map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
  const line = lines.find((found) =>
    version === 2 ? found?.[1] === '' : found?.[1]?.split(',').some((name) => controllers.includes(name)),
  );
  return line?.[2]?.replace(/^\//, '') ?? '';
}
