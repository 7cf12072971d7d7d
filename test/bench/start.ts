import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { buildProgram } from './lib/programs.ts';
import { microvm } from './lib/qemu.ts';
import { machineFacts, table } from './lib/report.ts';
import { median, quantile } from './lib/statistics.ts';

// From exec of the monitor to the guest's first instruction: the guest `first-byte` begins with a write to the serial port, and a small C
// program (lib/launch.c) takes the time from before posix_spawn until that byte arrives on the monitor's standard output.

const AIM = 1;
const { values } = parseArgs({ options: { rounds: { type: 'string', default: '30' } } });
const rounds = Number(values.rounds);

const launch = buildProgram('launch');
const kernel = buildGuest('first-byte');

const COMMANDS: readonly (readonly [name: string, command: string[]])[] = [
  ['QEMU microvm', microvm({ kernel })],
  ['mvm', [join(import.meta.dirname, '../../dist/mvm'), 'run', '--kernel', kernel, '--memory', '128M']],
  ['C (reference-vmm)', [buildProgram('reference-vmm'), kernel]],
];

// Nothing of the caller's environment may cost one of them time: NODE_EXTRA_CA_CERTS, for one, makes Node read certificates.
const env = { PATH: process.env.PATH, HOME: process.env.HOME };
const args = COMMANDS.flatMap(([, command], i) => (i === 0 ? command : ['--', ...command]));
// A round that does not count first, which brings the files into memory.
execFileSync(launch, ['1', ...args], { env });
const output = execFileSync(launch, [String(rounds), ...args], {
  env,
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
});

const first: number[][] = COMMANDS.map(() => []);
const end: number[][] = COMMANDS.map(() => []);
for (const line of output.trim().split('\n')) {
  const [command, byte, exit, status] = line.split(' ').map(Number) as [number, number, number, number];
  if (byte < 0 || status !== 0) throw new Error(`${COMMANDS[command]![0]} printed nothing, or ended with ${status}`);
  first[command]!.push(byte / 1e6);
  end[command]!.push(exit / 1e6);
}

const milliseconds = (value: number) => `${value.toFixed(1)} ms`;
const rows = [['', 'lowest', 'median', 'p90', 'to the end']];
for (const [i, [name]] of COMMANDS.entries()) {
  const times = first[i]!;
  rows.push([name, ...[Math.min(...times), median(times), quantile(times, 0.9), median(end[i]!)].map(milliseconds)]);
}
const ratios = first[1]!.map((time, i) => time / first[0]![i]!);
const ratio = median(ratios);
// The lowest times tell of the programs themselves when other work disturbs the rounds.
const lowest = Math.min(...first[1]!) / Math.min(...first[0]!);
process.stdout.write(`From exec to the guest's first byte, ${rounds} rounds in turn\n\n${table(rows)}\n`);
process.stdout.write(
  `mvm/QEMU: ${ratio.toFixed(2)}, the median of the rounds' ratios (four fifths of them between ` +
    `${quantile(ratios, 0.1).toFixed(2)} and ${quantile(ratios, 0.9).toFixed(2)}), ${lowest.toFixed(2)} of the lowest times; ` +
    `aim ≤ ${AIM}: ${ratio <= AIM ? 'reached' : 'not reached'}\n`,
);
process.stdout.write(`${machineFacts().join('\n')}\n`);
