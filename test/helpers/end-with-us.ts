import type { ChildProcess } from 'node:child_process';

const running = new Set<ChildProcess>();

/** Ends a process when AVA ends this one: a test that takes too long never gets to its own teardown. */
export function endWithUs(child: ChildProcess): void {
  if (running.size === 0) process.once('SIGTERM', endAll);
  running.add(child);
  child.once('exit', () => {
    running.delete(child);
    if (running.size === 0) process.off('SIGTERM', endAll);
  });
}

function endAll(): void {
  for (const child of running) child.kill('SIGKILL');
  // Once more, without a handler: we end by it.
  process.kill(process.pid, 'SIGTERM');
}
