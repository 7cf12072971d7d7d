import { builtInProfiles } from '../lib/seccomp/built-in.ts';
import type { Profiles } from '../lib/seccomp/profile.ts';
import type { VmOptions } from './options.ts';
import { UsageError } from './report.ts';

/**
 * The profiles that a run's threads get: mvm's own, those of `--seccomp-filter`, or none with `--no-seccomp`.
 * @throws UsageError, ConfigProblems, ConfigError
 */
export async function seccompProfiles(options: VmOptions): Promise<Profiles | undefined> {
  const file = options['seccomp-filter'];
  if (options.seccomp === false) {
    if (file === undefined) return undefined;
    throw new UsageError('says the opposite of --seccomp-filter', { where: '--no-seccomp', hint: 'give one of them' });
  }
  if (file === undefined) return builtInProfiles();
  const { readProfiles } = await import('../lib/seccomp/parse.ts');
  return await readProfiles(file);
}
