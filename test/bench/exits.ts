import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildGuest, type Guest } from '../../fixtures/bare-metal/build.ts';
import { buildProgram } from './lib/programs.ts';
import { machineFacts, table } from './lib/report.ts';
import { median } from './lib/statistics.ts';

// Time per exit, seen from inside the guest: mvm against a C program that handles exits in the vCPU's thread. Pairs of runs, one right
// after the other and the first in turn, so that what else the machine does hits both.

const AIM = 1.1;
const { values } = parseArgs({
  options: { pairs: { type: 'string', default: '7' }, count: { type: 'string', default: '20000' } },
});
const pairs = Number(values.pairs);
const count = Number(values.count);

const mvm = join(import.meta.dirname, '../../dist/mvm');
const reference = buildProgram('reference-vmm');
const tscKhz = Number(execFileSync(reference, ['--tsc-khz'], { encoding: 'utf8' }));

const CASES: readonly (readonly [name: string, guest: Guest, cmdline: string])[] = [
  ['port write, nobody there', 'exits', 'port=0x80'],
  ["port write, 16550A's scratch register", 'exits', 'port=0x3ff'],
  ['memory write, nobody there', 'mmio-exits', 'address=0xdffff000'],
  ['memory read, nobody there', 'mmio-exits', 'address=0xdffff000 read=1'],
];

/** Microseconds an exit. */
function measure(command: string, args: string[]): number {
  const output = execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const [, exits, cycles] = /^exits=(\d+) cycles=(\d+)/m.exec(output) ?? [];
  if (Number(exits) !== count) throw new Error(`${command} printed ${JSON.stringify(output)}`);
  return (Number(cycles) / tscKhz / count) * 1000;
}

const microseconds = (value: number) => `${value.toFixed(2)} µs`;
const rows = [['exit', 'C', 'mvm', 'mvm/C', 'from', 'to', 'of lowest', '']];
for (const [name, guest, parameters] of CASES) {
  const kernel = buildGuest(guest);
  const cmdline = `count=${count} ${parameters}`;
  const runs = {
    c: () => measure(reference, ['--cmdline', cmdline, kernel]),
    mvm: () => measure(mvm, ['run', '--kernel', kernel, '--cmdline', cmdline, '--memory', '128M']),
  };
  const times: { c: number; mvm: number }[] = [];
  for (let i = 0; i < pairs; i++) {
    if (i % 2 === 0) times.push({ c: runs.c(), mvm: runs.mvm() });
    else times.push({ mvm: runs.mvm(), c: runs.c() });
    process.stderr.write('.');
  }
  const ratios = times.map((pair) => pair.mvm / pair.c);
  const ratio = median(ratios);
  const lowest = Math.min(...times.map((pair) => pair.mvm)) / Math.min(...times.map((pair) => pair.c));
  rows.push([
    name,
    microseconds(median(times.map((pair) => pair.c))),
    microseconds(median(times.map((pair) => pair.mvm))),
    ratio.toFixed(2),
    Math.min(...ratios).toFixed(2),
    Math.max(...ratios).toFixed(2),
    lowest.toFixed(2),
    ratio <= AIM ? 'reached' : 'not reached',
  ]);
}
process.stderr.write('\n');
process.stdout.write(
  `Time per exit, median of ${pairs} pairs of ${count} exits; aim: mvm/C ≤ ${AIM}\n\n${table(rows)}\n`,
);
process.stdout.write(`${machineFacts().join('\n')}\n`);
