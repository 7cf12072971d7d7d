import { loadConfig } from '../../lib/config/load.ts';
import { ConfigProblems } from '../../lib/config/problems.ts';
import { firstDescriptors } from '../../lib/confine/descriptors.ts';
import { resourceLimits } from '../../lib/confine/resource-limits.ts';
import { checkMemorySize } from '../../lib/host/memory.ts';
import { parseJailOptions } from '../../lib/jail/options.ts';
import { overridesOf, type RunOptions } from '../options.ts';
import { seccompProfiles } from '../seccomp.ts';
import { runConfig } from './run-config.ts';

/** `mvm run`: boots the machine that a file and options describe. @returns mvm's exit code */
export async function run(options: RunOptions): Promise<number> {
  const descriptors = firstDescriptors();
  const jail = parseJailOptions(options, process.cwd());
  const [first, ...others] = jail.problems;
  if (first !== undefined) throw new ConfigProblems([first, ...others]);
  const config = await loadConfig({ file: options.config, overrides: overridesOf(options), id: options.id });
  const limits = resourceLimits(options['resource-limit']);
  const profiles = await seccompProfiles(options);
  checkMemorySize(config.machine);
  const debug = options.debug === true;
  if (jail.settings === undefined)
    return await runConfig(config, { confinement: { profiles, limits, descriptors }, debug });
  const { runInJail } = await import('./run-in-jail.ts');
  return await runInJail(config, jail.settings, { profiles, limits, debug });
}
