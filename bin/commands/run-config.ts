import type { VmConfig } from '../../lib/config/types.ts';
import type { Confinement } from '../../lib/confine/lock-down.ts';
import { ExitCode, MvmError } from '../../lib/errors.ts';
import { Log } from '../../lib/log.ts';
import type { Jail } from '../../lib/machine/run.ts';
import { reportError } from '../report.ts';
import { type CaughtSignals, catchReportSignal, catchSignals, signalExitCode } from '../signals.ts';

export interface RunConfigOptions {
  readonly confinement: Confinement;
  readonly debug: boolean;
  /** Makes what stands for the jail that we are in. */
  readonly jail?: (signals: CaughtSignals) => Jail;
}

/** Boots the machine of a checked configuration, in this process. @returns mvm's exit code */
export async function runConfig(config: VmConfig, { confinement, debug, jail }: RunConfigOptions): Promise<number> {
  const { runMachine } = await import('../../lib/machine/run.ts');
  const log = Log.open(config.logger, config.id);
  const signals = catchSignals();
  try {
    const exitCode = await runMachine(config, {
      log,
      stop: signals.stop,
      onReport: catchReportSignal,
      confinement,
      ...(jail === undefined ? {} : { jail: jail(signals) }),
    });
    const signal = signals.received();
    // A guest that crashed meanwhile is the bigger news.
    return signal !== undefined && exitCode === ExitCode.Ok ? signalExitCode(signal) : exitCode;
  } catch (error) {
    if (!(error instanceof MvmError)) throw error;
    if (config.logger.path !== undefined) log.error(error.toLine());
    return reportError(error, { format: config.logger.format, debug });
  } finally {
    log.close();
  }
}
