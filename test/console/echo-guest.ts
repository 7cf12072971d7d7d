import { HostConsole } from '../../lib/console/host-console.ts';
import type { MvmError } from '../../lib/errors.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';

/**
 * A program with a console and a guest of a few lines, for the tests to run on terminals, pipes and files.
 *
 * - `echo`: prints what it reads; ends with the input. On a terminal, some control characters make it end in other ways.
 * - `print N`: prints N bytes.
 * - `raw`: makes the terminal raw, and looks at nothing that is typed.
 * - `hold`: reads nothing, prints nothing, and ends on SIGUSR2.
 * - `signals`: like `echo`, with its own handling of SIGTERM.
 */
const [mode = 'echo', argument = '0'] = process.argv.slice(2);
const loop = new EventLoop();
let exitCode = 0;
const report = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

const host = HostConsole.standard(loop, {
  leave: () => finish('left'),
  sendBreak: () => report('break'),
  sendCtrlAltDel: () => report('ctrl-alt-del'),
  failed: (error: MvmError) => {
    report(error.toLine());
    exitCode = error.exitCode;
    finish('failed');
  },
});
const { output, input } = host;
let finished = false;

function finish(why: string): void {
  if (finished) return;
  finished = true;
  report(why);
  void host.drain().then(() => {
    host.close();
    loop.stop();
  });
  loop.yieldToNode();
}

/** Control characters that a test types to end the program: what is after them is not printed. */
const ways = new Map<number, () => void>([
  [0x04, () => finish('end of file')],
  [
    0x05,
    () => {
      setImmediate(() => process.exit(9));
      loop.yieldToNode();
    },
  ],
  [
    0x14,
    () => {
      setImmediate(() => {
        throw new Error('uncaught');
      });
      loop.yieldToNode();
    },
  ],
  [
    0x18,
    () => {
      throw new Error('thrown in a handler');
    },
  ],
]);

let congested = false;
function echo(): void {
  if (input === undefined) return;
  while (!congested && input.available > 0) {
    const byte = input.take();
    const way = process.env.WAYS === '1' ? ways.get(byte) : undefined;
    if (way !== undefined) {
      way();
      return;
    }
    congested = !output.put(byte);
  }
  if (input.ended && input.available === 0) finish('end of input');
}

let left = Number(argument);
function print(): void {
  while (left > 0 && !congested) {
    congested = !output.put(0x20 + (left % 95));
    left--;
  }
  if (left === 0) finish('printed');
}

const work = mode === 'print' ? print : echo;
output.onDrain(() => {
  congested = false;
  work();
});
if (mode !== 'raw') input?.onReadable(echo);
host.onResize((size) => report(`${size.columns}x${size.rows}`));
if (mode === 'signals') {
  process.on('SIGTERM', () => finish('terminated'));
}
process.on('SIGUSR2', () => finish('asked to'));
// The guest looks for the end of its input as often as the loop goes idle.
if (mode !== 'hold' && mode !== 'print' && mode !== 'raw') loop.beforeSleep(echo);

const running = loop.run();
if (mode !== 'hold') host.start();
if (mode === 'print') print();
report('ready');
try {
  await running;
} catch (error) {
  host.close();
  report((error as Error).message);
  exitCode = 1;
}
const { bytes, droppedBytes } = output.metrics;
report(`wrote ${bytes} dropped ${droppedBytes}`);
process.exitCode = exitCode;
