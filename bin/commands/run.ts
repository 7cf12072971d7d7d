import { loadConfig } from '../../lib/config/load.ts';
import { ExitCode, MvmError } from '../../lib/errors.ts';
import { checkMemorySize } from '../../lib/host/memory.ts';
import { Log } from '../../lib/log.ts';
import { overridesOf, type VmOptions } from '../options.ts';
import { reportError } from '../report.ts';
import { seccompProfiles } from '../seccomp.ts';
import { catchSignals, signalExitCode } from '../signals.ts';

/** `mvm run`: boots the machine that a file and options describe. @returns mvm's exit code */
export async function run(options: VmOptions): Promise<number> {
  const config = await loadConfig({ file: options.config, overrides: overridesOf(options), id: options.id });
  const seccomp = await seccompProfiles(options);
  checkMemorySize(config.machine);
  const { runMachine } = await import('../../lib/machine/run.ts');
  const log = Log.open(config.logger, config.id);
  const signals = catchSignals();
  try {
    const exitCode = await runMachine(config, { log, stop: signals.stop, seccomp });
    const signal = signals.received();
    // A guest that crashed meanwhile is the bigger news.
    return signal !== undefined && exitCode === ExitCode.Ok ? signalExitCode(signal) : exitCode;
  } catch (error) {
    if (config.logger.path !== undefined && error instanceof MvmError) log.error(error.toLine());
    return reportError(error, { format: config.logger.format, debug: options.debug === true });
  } finally {
    log.close();
  }
}
