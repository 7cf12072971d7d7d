import { execFileSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Counters } from '../../lib/metrics/counters.ts';
import { MetricsReporter } from '../../lib/metrics/reporter.ts';
import { openLineSink } from '../../lib/output/line-sink.ts';

function temporaryDirectory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'mvm-metrics-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

interface Line {
  readonly utc_timestamp_ms: number;
  readonly properties?: Record<string, string>;
  readonly disk: { readonly reads: number };
}

const linesOf = (text: string): Line[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);

test('reports come at each interval, when asked for, and at the end, each a line with its time', async (t) => {
  const counts = { reads: 0 };
  const counters = new Counters();
  const written = new EventEmitter();
  counters.add('disk', () => counts);
  const file = join(temporaryDirectory(t), 'metrics');
  const sink = openLineSink(file, 'it');
  const write = sink.write.bind(sink);
  sink.write = (line) => {
    const taken = write(line);
    written.emit('line');
    return taken;
  };
  const reporter = new MetricsReporter(sink, counters, { customer: '12' }, 20);
  counts.reads = 1;
  // The reporter's own timer keeps nobody alive.
  const alive = setInterval(() => {}, 1000);
  await once(written, 'line');
  clearInterval(alive);
  counts.reads = 3;
  reporter.flush();
  counts.reads = 6;
  reporter.close();
  const lines = linesOf(readFileSync(file, 'utf8'));
  t.deepEqual(
    lines.slice(-2).map(({ disk }) => disk),
    [{ reads: 2 }, { reads: 3 }],
  );
  t.is(
    lines.reduce((sum, { disk }) => sum + disk.reads, 0),
    6,
  );
  for (const { utc_timestamp_ms, properties } of lines) {
    t.true(Math.abs(utc_timestamp_ms - Date.now()) < 60_000);
    t.deepEqual(properties, { customer: '12' });
  }
  t.is(reporter.missed, 0);
});

test('a named pipe that is full misses reports, and loses no count', (t) => {
  const pipe = join(temporaryDirectory(t), 'pipe');
  execFileSync('mkfifo', [pipe]);
  const counts = { reads: 0 };
  const counters = new Counters();
  counters.add('disk', () => counts);
  counters.add('filler', () => Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`counter_${i}`, i])));
  const reporter = new MetricsReporter(openLineSink(pipe, 'it'), counters);
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  t.teardown(() => closeSync(reader));
  while (reporter.missed < 3) {
    counts.reads++;
    reporter.flush();
  }
  const chunk = Buffer.alloc(1 << 20);
  const drain = () => chunk.toString('utf8', 0, readSync(reader, chunk));
  let text = drain();
  reporter.close();
  text += drain();
  // A line that the pipe took a part of is an own line that is none; all others are whole.
  const lines = text.split('\n').filter((line) => line.endsWith('}') && line.startsWith('{"utc'));
  const total = lines.map((line) => JSON.parse(line) as Line).reduce((sum, { disk }) => sum + disk.reads, 0);
  t.is(total, counts.reads);
});

test('a file that cannot be opened is a mistake in the configuration', (t) => {
  const error = t.throws(() => openLineSink('/none/such', 'the file for metrics'));
  t.is(error.message, 'cannot open the file for metrics (ENOENT)');
});
