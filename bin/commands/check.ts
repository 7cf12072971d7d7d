import { inspectConfig } from '../../lib/config/load.ts';
import { exitCodeOf } from '../../lib/config/problems.ts';
import { resourceLimits } from '../../lib/confine/resource-limits.ts';
import { ExitCode } from '../../lib/errors.ts';
import { checkConfig } from '../../lib/machine/check.ts';
import { writeStdout } from '../../lib/output/stdout.ts';
import { stdoutStyle } from '../../lib/output/style.ts';
import { overridesOf, type VmOptions } from '../options.ts';
import { reportProblem, UsageError } from '../report.ts';
import { seccompProfiles } from '../seccomp.ts';

/** `mvm check`: reports every problem of a configuration on standard error, or says on standard output that it has none. */
export async function check(options: VmOptions): Promise<ExitCode> {
  if (options.config === undefined && options.kernel === undefined) {
    throw new UsageError('nothing to check', { hint: 'name a configuration file, or give --kernel' });
  }
  resourceLimits(options['resource-limit']);
  await seccompProfiles(options);
  const overrides = overridesOf(options);
  const inspection = await inspectConfig({ file: options.config, overrides, id: options.id });
  const { problems, summary } = await checkConfig(inspection);
  if (problems.length > 0) {
    const format = options['log-format'] === 'json' ? 'json' : 'text';
    for (const problem of problems) reportProblem(problem, { format, debug: options.debug === true });
    return exitCodeOf(problems);
  }
  if (options.quiet !== true) {
    const { green } = await stdoutStyle();
    writeStdout(`${options.config ?? 'the options'}: ${green('OK')}: ${summary}\n`);
  }
  return ExitCode.Ok;
}
