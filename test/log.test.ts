import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { LoggerConfig, LogLevel } from '../lib/config/types.ts';
import { ConfigError } from '../lib/errors.ts';
import { defaultLogger, Log } from '../lib/log.ts';
import type { LineSink } from '../lib/output/line-sink.ts';

/** Keeps what was written; `full` makes it lose lines. */
class Memory implements LineSink {
  readonly lines: string[] = [];
  full = false;
  closed = false;

  write(line: string): boolean {
    if (this.full) return false;
    this.lines.push(line);
    return true;
  }

  close(): void {
    this.closed = true;
  }
}

function logTo(config: Partial<LoggerConfig> = {}): { log: Log; sink: Memory } {
  const sink = new Memory();
  return { log: Log.open({ ...defaultLogger(), ...config }, 'vm-1', sink), sink };
}

function temporaryDirectory(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-log-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

test('a level lets itself and the graver ones through', (t) => {
  const all: LogLevel[] = ['Error', 'Warning', 'Info', 'Debug', 'Trace'];
  for (const [count, level] of (['Off', ...all] as LogLevel[]).entries()) {
    const { log, sink } = logTo({ level, format: 'json' });
    log.trace('x');
    log.debug('x');
    log.info('x');
    log.warn('x');
    log.error('x');
    const seen = sink.lines.map((line) => (JSON.parse(line) as { level: string }).level);
    t.deepEqual(seen, all.slice(0, count).toReversed(), level);
    for (const asked of all) t.is(log.enabled(asked), seen.includes(asked));
  }
});

test('text on standard error begins with mvm, and warnings say that they are ones', (t) => {
  const { log, sink } = logTo({ level: 'Info' });
  log.info('hello');
  log.warn('careful');
  log.child('serial').error('broken');
  t.deepEqual(sink.lines, ['mvm: hello\n', 'mvm: warning: careful\n', 'mvm: error: broken\n']);
  const shown = logTo({ level: 'Info', showLevel: true, showOrigin: true });
  shown.log.child('serial').info('hello');
  t.deepEqual(shown.sink.lines, ['mvm: info: serial: hello\n']);
});

test('text in a file has time and instance, and level and origin where they are asked for', (t) => {
  const plain = logTo({ path: '/some/file', level: 'Info' });
  plain.log.child('serial').info('hello');
  t.regex(plain.sink.lines[0]!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[vm-1\] hello\n$/);
  const full = logTo({ path: '/some/file', level: 'Info', showLevel: true, showOrigin: true });
  full.log.child('serial').warn('careful');
  t.regex(full.sink.lines[0]!, / \[vm-1:Warning:serial\] careful\n$/);
});

test('JSON lines have time, level, instance, module and message', (t) => {
  const { log, sink } = logTo({ format: 'json' });
  log.child('serial').warn('a "quoted"\nline');
  const { time, ...others } = JSON.parse(sink.lines[0]!) as Record<string, string>;
  t.false(Number.isNaN(Date.parse(time!)));
  t.deepEqual(others, { level: 'Warning', id: 'vm-1', module: 'serial', message: 'a "quoted"\nline' });
  t.is(sink.lines[0]!.indexOf('\n'), sink.lines[0]!.length - 1);
});

test('a message cannot forge a line or drive a terminal', (t) => {
  const { log, sink } = logTo();
  log.error('a\nmvm: error: b\u001b[31m\u009b1m\r');
  t.deepEqual(sink.lines, ['mvm: error: a mvm: error: b\\x1b[31m\\x9b1m\\x0d\n']);
});

test('a module is chosen by the beginning of its name', (t) => {
  const { log, sink } = logTo({ module: 'virtio' });
  log.warn('none');
  log.child('serial').warn('serial');
  log.child('virtio').warn('all');
  log.child('virtio/net').warn('net');
  t.deepEqual(sink.lines, ['mvm: warning: all\n', 'mvm: warning: net\n']);
});

test('a limited warning is shown at once, then gathered and counted', async (t) => {
  const { log, sink } = logTo();
  for (let i = 0; i < 1000; i++) log.child('serial').warnLimited('serial: too fast');
  log.warnLimited('bus: nobody there');
  t.deepEqual(sink.lines, ['mvm: warning: serial: too fast\n', 'mvm: warning: bus: nobody there\n']);
  t.deepEqual(
    log.counts(),
    new Map([
      ['serial: too fast', 1000],
      ['bus: nobody there', 1],
    ]),
  );
  // The timer of the log does not keep the process alive; this one does.
  for (let waited = 0; sink.lines.length < 3 && waited < 10_000; waited += 50) await delay(50);
  t.deepEqual(sink.lines.slice(2), ['mvm: warning: serial: too fast (repeated 999 times)\n']);
  log.close();
  t.is(sink.lines.length, 3, 'nothing was left to show');
});

test('closing shows what was gathered, and closes the output', (t) => {
  const { log, sink } = logTo({ format: 'json' });
  for (let i = 0; i < 3; i++) log.warnLimited('again');
  log.close();
  t.deepEqual(
    sink.lines.map((line) => (JSON.parse(line) as { repeated?: number }).repeated),
    [undefined, 2],
  );
  t.true(sink.closed);
});

test('lines that the output does not take are counted, and the next one says so', (t) => {
  const { log, sink } = logTo({ format: 'json' });
  sink.full = true;
  log.warn('lost');
  log.warn('lost');
  log.info('below the level');
  sink.full = false;
  log.warn('seen');
  t.deepEqual(
    sink.lines.map((line) => (JSON.parse(line) as { message: string }).message),
    ['2 lines of this log were lost: its output was full', 'seen'],
  );
});

test('a log file is made for its owner alone, and appended to', (t) => {
  const path = join(temporaryDirectory(t), 'mvm.log');
  for (const message of ['first', 'second']) {
    const log = Log.open({ ...defaultLogger(), path }, 'vm-1');
    log.warn(message);
    log.close();
  }
  t.is(statSync(path).mode & 0o777, 0o600);
  t.regex(readFileSync(path, 'utf8'), /^\S+ \[vm-1\] first\n\S+ \[vm-1\] second\n$/);
});

test('a named pipe that nobody reads does not hold up the machine', (t) => {
  const path = join(temporaryDirectory(t), 'pipe');
  execFileSync('mkfifo', [path]);
  const log = Log.open({ ...defaultLogger(), path, format: 'json' }, 'vm-1');
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const long = 'x'.repeat(10_000);
  // A pipe holds 64 KiB: most of these are lost, and one is torn.
  for (let i = 0; i < 30; i++) log.warn(long);
  const buffer = Buffer.alloc(1 << 20);
  const first = buffer.toString('utf8', 0, readSync(reader, buffer));
  t.true(first.length > 40_000 && first.length < 300_000, `${first.length} bytes were taken`);
  t.false(first.endsWith('\n'));
  log.warn('after');
  const [rest, lost, after] = buffer.toString('utf8', 0, readSync(reader, buffer)).split('\n');
  t.is(rest, '', 'the torn line ends');
  t.regex((JSON.parse(lost!) as { message: string }).message, /^\d+ lines of this log were lost/);
  t.is((JSON.parse(after!) as { message: string }).message, 'after');
  closeSync(reader);
  log.close();
});

test('a log that cannot be opened is an error in the configuration', (t) => {
  const path = join(temporaryDirectory(t), 'missing/mvm.log');
  const error = t.throws(() => Log.open({ ...defaultLogger(), path }, 'vm-1'), { instanceOf: ConfigError });
  t.is(error.toLine(), `${path}: cannot open the log (ENOENT)`);
});
