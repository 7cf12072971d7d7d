import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { directoryOf } from './cgroup.ts';
import type { PlannedCgroup } from './cgroup-plan.ts';

/** Where a cgroup counts the processes that were killed because its memory had run out: version 1, version 2. */
const COUNTERS = ['memory.oom_control', 'memory.events'];

/** Whether the kernel killed a process of these cgroups because their memory limit was reached. */
export function ranOutOfMemory(cgroups: readonly PlannedCgroup[]): boolean {
  return cgroups.some((planned) => COUNTERS.some((name) => killsIn(join(directoryOf(planned), name)) > 0));
}

function killsIn(file: string): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(file, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
