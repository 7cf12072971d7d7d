import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { MIB } from '../../lib/memory/layout.ts';
import { builtInProfiles } from '../../lib/seccomp/built-in.ts';
import { compileProfile } from '../../lib/seccomp/compile.ts';
import { FEATURES, START_VALUES, THREAD_KINDS, type ThreadKind } from '../../lib/seccomp/profile.ts';
import { systemCallNumber } from '../../lib/seccomp/syscalls.ts';
import { blockGuestArguments } from '../helpers/block-guest.ts';
import { EXECUTABLE } from '../helpers/mvm.ts';
import { buildProgram } from './lib/programs.ts';
import { machineFacts, table } from './lib/report.ts';
import { median } from './lib/statistics.ts';

// What the seccomp filters cost. First one system call under each filter, whose conditions it has to meet: the shortest of many rounds, which a busy host
// hardly changes. Then the same guest with and without filters (`--no-seccomp`), in pairs of runs one right after the other, the first in turn; times
// are seen from inside the guest.

/** As a share of the time without filters. */
const AIM = 0.02;
const { values } = parseArgs({ options: { pairs: { type: 'string', default: '15' } } });
const pairs = Number(values.pairs);

/** As in filtered-calls.c. */
const WORD_ADDRESS = 0x1000_0000;
const IMAGE_MIB = 64;
const EXITS = 40_000;
/** Of each measurement of a disk, after a warm-up of half of it. */
const SECONDS = 0.4;

const folder = mkdtempSync(join(tmpdir(), 'mvm-bench-seccomp-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
const image = join(folder, 'disk.img');
writeFileSync(image, '');
truncateSync(image, IMAGE_MIB * MIB);
const tscKhz = Number(execFileSync(buildProgram('reference-vmm'), ['--tsc-khz'], { encoding: 'utf8' }));
const millions = (time: number) => Math.round((time * tscKhz) / 1000);

function exits(): string[] {
  return ['run', '--kernel', buildGuest('exits'), '--memory', '128M', '--cmdline', `count=${EXITS} port=0x3ff`];
}

function disk(engine: 'Sync' | 'Async', depth: number): string[] {
  const time = `warmup=${millions(SECONDS / 2)} cycles=${millions(SECONDS)} settle=${millions(0.03)}`;
  const cmdline = `mode=bench op=read access=random size=4096 depth=${depth} ${time}`;
  return blockGuestArguments({ config: join(folder, 'vm.json'), image, engine, transport: 'mmio', cmdline });
}

const CASES: readonly (readonly [name: string, args: () => string[]])[] = [
  ['exit: port write', exits],
  ['disk, Sync, random 4 KiB reads, depth 1', () => disk('Sync', 1)],
  ['disk, Sync, random 4 KiB reads, depth 32', () => disk('Sync', 32)],
  ['disk, Async, random 4 KiB reads, depth 1', () => disk('Async', 1)],
  ['disk, Async, random 4 KiB reads, depth 32', () => disk('Async', 32)],
];

/** Microseconds of an exit or an operation. */
function measure(args: readonly string[]): number {
  const output = execFileSync(EXECUTABLE, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const [, count, cycles] = /(?:exits|operations)=(\d+)\b.*?\bcycles=(\d+)/s.exec(output) ?? [];
  if (count === undefined || cycles === undefined) throw new Error(`the guest printed ${JSON.stringify(output)}`);
  return (Number(cycles) / tscKhz / Number(count)) * 1000;
}

/** A futex call without a filter, and under that of a kind of thread: nanoseconds. */
function measureCall(thread: ThreadKind): readonly [without: number, under: number] {
  const profile = builtInProfiles()[thread];
  // The program ends by exit_group, of which vCPUs' threads know nothing.
  const number = systemCallNumber('exit_group')!;
  const rules = [...profile.rules, { name: 'exit_group', number, conditions: [], when: [], action: undefined }];
  const values = Object.fromEntries(START_VALUES[thread].map((name) => [name, WORD_ADDRESS]));
  const features = new Set(FEATURES);
  const narrow = { vcpu_fd: 0, wake_fd: 0, pid: 0, kick_signal: 0, terminal_fd: 0 };
  const file = join(folder, `${thread}.bpf`);
  writeFileSync(file, compileProfile({ ...profile, rules }, { values: { ...values, ...narrow }, features }));
  const output = execFileSync(buildProgram('filtered-calls'), [file, '20', '200000'], { encoding: 'utf8' });
  const [without, under] = output.trim().split(' ').map(Number) as [number, number];
  return [without, under];
}

const callRows = [['a futex call', 'without', 'with', 'cost']];
for (const thread of THREAD_KINDS) {
  const [without, under] = measureCall(thread);
  callRows.push([thread, ...[without, under, under - without].map((value) => `${value.toFixed(0)} ns`)]);
}
process.stdout.write(`${table(callRows)}\n`);

const microseconds = (value: number) => `${value.toFixed(2)} µs`;
const percent = (ratio: number) => `${((ratio - 1) * 100).toFixed(1)} %`;
const rows = [['', 'without', 'with', 'cost', 'from', 'to', 'of lowest', '']];
for (const [name, args] of CASES) {
  const times: { with: number; without: number }[] = [];
  for (let i = 0; i < pairs; i++) {
    const confined = () => measure(args());
    const free = () => measure([...args(), '--no-seccomp']);
    if (i % 2 === 0) times.push({ with: confined(), without: free() });
    else times.push({ without: free(), with: confined() });
    process.stderr.write('.');
  }
  const ratios = times.map((pair) => pair.with / pair.without);
  const ratio = median(ratios);
  const lowest = Math.min(...times.map((pair) => pair.with)) / Math.min(...times.map((pair) => pair.without));
  rows.push([
    name,
    microseconds(median(times.map((pair) => pair.without))),
    microseconds(median(times.map((pair) => pair.with))),
    ...[ratio, Math.min(...ratios), Math.max(...ratios), lowest].map(percent),
    ratio <= 1 + AIM ? 'reached' : 'not reached',
  ]);
}
process.stderr.write('\n');
process.stdout.write(
  `Cost of the seccomp filters, medians of ${pairs} pairs; aim: at most ${AIM * 100} %\n\n${table(rows)}\n`,
);
process.stdout.write(`${machineFacts().join('\n')}\n`);
