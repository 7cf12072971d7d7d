import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'ava';
import { signalExitCode } from '../../bin/signals.ts';

/** A program that takes its time to stop: for ever. */
const PROGRAM = `
import { catchSignals } from ${JSON.stringify(join(import.meta.dirname, '../../bin/signals.ts'))};
const { stop, received } = catchSignals();
process.on('exit', () => console.log('cleaned up'));
stop.addEventListener('abort', () => console.log('stopping', stop.reason, received()));
setInterval(() => {}, 1000);
console.log('ready', stop.aborted, received());
`;

for (const [first, second, code] of [
  ['SIGINT', 'SIGINT', 130],
  ['SIGTERM', 'SIGINT', 130],
  ['SIGHUP', 'SIGTERM', 143],
] as const) {
  test.serial(`the first signal (${first}) asks, the second (${second}) ends at once`, async (t) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const ended = once(child, 'close');
    t.is((await lines.next()).value, 'ready false undefined');
    child.kill(first);
    t.is((await lines.next()).value, `stopping ${first} ${first}`);
    child.kill(second);
    t.is((await lines.next()).value, 'cleaned up');
    t.deepEqual(await ended, [code, null]);
  });
}

test('exit codes are those of a shell', (t) => {
  t.deepEqual([signalExitCode('SIGHUP'), signalExitCode('SIGINT'), signalExitCode('SIGTERM')], [129, 130, 143]);
});
