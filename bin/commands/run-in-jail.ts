import { closeSync, writeSync } from 'node:fs';
import { isSea } from 'node:sea';
import type { VmConfig } from '../../lib/config/types.ts';
import type { Confinement } from '../../lib/confine/lock-down.ts';
import { HostError, MvmError } from '../../lib/errors.ts';
import { PROGRAM_NAME } from '../../lib/jail/directory.ts';
import type { JailSettings } from '../../lib/jail/options.ts';
import { redirectToNull, superviseJail } from '../../lib/jail/supervisor.ts';
import { Log } from '../../lib/log.ts';
import { daemonPipe, startDaemon } from '../daemon.ts';
import { reportError } from '../report.ts';
import { REPORT_SIGNAL, STOP_SIGNALS } from '../signals.ts';
import { JAILED } from './jailed-name.ts';

const STDIN = 0;
const STDERR = 2;

/** `mvm run --jail`: starts mvm once more, in a jail, and stays until that has ended. @returns mvm's exit code */
export async function runInJail(
  config: VmConfig,
  settings: JailSettings,
  { profiles, limits, debug }: Pick<Confinement, 'profiles' | 'limits'> & { readonly debug: boolean },
): Promise<number> {
  if (!isSea()) {
    throw new HostError('mvm goes into a jail as one file only: its sources cannot be read there', {
      where: '--jail',
      hint: 'npm run build, and use dist/mvm',
    });
  }
  const pipe = daemonPipe();
  if (settings.daemonize && pipe === undefined) return await startDaemon();
  const log = Log.open(config.logger, config.id);
  if (settings.daemonize) {
    redirectToNull(STDIN);
    process.chdir('/');
  }
  const onRunning = (): void => {
    if (pipe === undefined) return;
    redirectToNull(STDERR);
    writeSync(pipe, '1');
    closeSync(pipe);
  };
  const style = { format: config.logger.format, debug };
  try {
    const { exitCode, message } = await superviseJail(config, settings, {
      argv: jailedCommand(style),
      profiles,
      limits,
      debug,
      warn: (text) => log.warn(text),
      signals: [...STOP_SIGNALS, REPORT_SIGNAL],
      onRunning,
    });
    if (message !== undefined) log.error(message);
    return exitCode;
  } catch (error) {
    if (!(error instanceof MvmError)) throw error;
    if (config.logger.path !== undefined) log.error(error.toLine());
    return reportError(error, style);
  } finally {
    log.close();
  }
}

/** The arguments of its other half, from its name on. */
function jailedCommand({ format, debug }: { format: string; debug: boolean }): string[] {
  return [PROGRAM_NAME, JAILED, ...(format === 'json' ? ['--log-format=json'] : []), ...(debug ? ['--debug'] : [])];
}
