import { inspectConfig } from '../lib/config/load.ts';
import { withReport } from '../lib/confine/reporting.ts';
import { nameTable } from '../lib/confine/violation.ts';
import { builtInProfiles } from '../lib/seccomp/built-in.ts';
import { compileProfile } from '../lib/seccomp/compile.ts';
import { FEATURES, START_VALUES } from '../lib/seccomp/profile.ts';
import { fastParseRun } from './fast-parse.ts';

/** Functions that ran this often have their bytecode in the snapshot, and are not compiled at every start. */
const ROUNDS = 3;

/**
 * Does, while the executable is built, what `mvm run` does before it touches the host: loads its modules and runs their pure
 * parts. The executable starts from a snapshot of the heap that this leaves behind.
 *
 * Nothing here may look at the environment, the arguments or the terminal of the build, nor make a SharedArrayBuffer: a snapshot
 * cannot hold one.
 */
export async function warmUp(): Promise<void> {
  await Promise.all([
    import('./commands/run.ts'),
    import('../lib/machine/run.ts'),
    import('./commands/run-in-jail.ts'),
    import('./commands/jailed.ts'),
  ]);
  for (let round = 0; round < ROUNDS; round++) {
    fastParseRun(['vm.json', '--cpus', '2', '--memory', '256M', '--quiet']);
    await inspectConfig({ overrides: { kernel: 'vmlinux' }, cwd: '/' });
    compileFilters();
  }
  // It stays in the snapshot.
  nameTable();
}

/** Resolves the names in the profiles once and for all. */
function compileFilters(): void {
  const features = new Set(FEATURES);
  for (const profile of Object.values(builtInProfiles())) {
    const values = Object.fromEntries(START_VALUES[profile.thread].map((name) => [name, 0]));
    compileProfile(withReport(profile), { values, features });
  }
}
