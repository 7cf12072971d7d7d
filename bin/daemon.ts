import { once } from 'node:events';

/** The descriptor of the daemon's end of a pipe, told in this variable of its environment. */
const DAEMON_PIPE = 'MVM_DAEMON_PIPE';
const PIPE_FD = 3;

/** In a daemon that `startDaemon` started: the descriptor to write to when it works. */
export function daemonPipe(): number | undefined {
  const text = process.env[DAEMON_PIPE];
  delete process.env[DAEMON_PIPE];
  return text === undefined ? undefined : Number(text);
}

/**
 * Starts this program with the same arguments in a session of its own, and waits until it says that it works, or has ended: its errors
 * are seen until then.
 * @returns the exit code: 0 where it works
 */
export async function startDaemon(): Promise<number> {
  const { spawn } = process.getBuiltinModule('node:child_process');
  const child = spawn(process.execPath, process.argv.slice(2), {
    detached: true,
    stdio: ['inherit', 'ignore', 'inherit', 'pipe'],
    env: { ...process.env, [DAEMON_PIPE]: `${PIPE_FD}` },
  });
  const pipe = child.stdio[PIPE_FD]!;
  const works = once(pipe, 'data').then(() => 0);
  const ended = once(child, 'exit').then(([code, signal]) => (signal === null ? (code as number) : 1));
  const exitCode = await Promise.race([works, ended]);
  child.unref();
  return exitCode;
}
