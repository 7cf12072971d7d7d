/**
 * `npm run fuzz -- [--runs N] [--seed S] [--device D] [--transport mmio|pci] [--steps N] [--tape FILE]`: hostile guests against every device,
 * without KVM.
 *
 * A run is one program: a device made anew, and up to `--steps` things that a guest can do to it, as a seed says. Each device has `--runs` of
 * them on each transport. What is found is shrunk, and printed with the command that does it again.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { FUZZ_SUBJECTS } from '../../helpers/virtio/fuzz-subjects.ts';
import { describe, type Failure, fuzz } from '../../helpers/virtio/fuzzer.ts';
import { ListTape } from '../../helpers/virtio/tape.ts';

const EXIT_FOUND = 1;
const EXIT_USAGE = 2;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() >>> 0) },
    steps: { type: 'string', default: '500' },
    device: { type: 'string' },
    transport: { type: 'string' },
    tape: { type: 'string' },
  },
});

function numberOf(option: 'runs' | 'seed' | 'steps'): number {
  const number = Number(values[option]);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  console.error(`fuzz: --${option} must be a whole number`);
  process.exit(EXIT_USAGE);
}

const [runs, seed, steps] = [numberOf('runs'), numberOf('seed'), numberOf('steps')];
const subjects = FUZZ_SUBJECTS.filter(({ device, transport }) => {
  if (values.device !== undefined && device !== values.device) return false;
  return values.transport === undefined || transport === undefined || transport === values.transport;
});
if (subjects.length === 0) {
  const devices = [...new Set(FUZZ_SUBJECTS.map(({ device }) => device))].join(', ');
  console.error(`fuzz: there is no such device or transport; devices: ${devices}; transports: mmio, pci`);
  process.exit(EXIT_USAGE);
}

function report(failure: Failure): void {
  const file = join(mkdtempSync(join(tmpdir(), 'mvm-fuzz-')), 'tape.json');
  writeFileSync(file, JSON.stringify(failure.tape));
  console.error(describe(failure, steps, file));
}

if (values.tape !== undefined) {
  const [subject] = subjects;
  if (subjects.length !== 1 || subject === undefined) {
    console.error('fuzz: --tape needs --device and --transport');
    process.exit(EXIT_USAGE);
  }
  const numbers = JSON.parse(readFileSync(values.tape, 'utf8')) as number[];
  subject.run(new ListTape(numbers), steps, { chains: 0, accesses: 0, resets: 0, faults: 0 });
  console.log(`${subject.name}: nothing found`);
} else {
  console.log(`seed ${seed}, ${runs} runs of ${steps} steps each`);
  const row = (cells: readonly (string | number)[]) =>
    console.log(cells.map((cell, i) => (i === 0 ? String(cell).padEnd(20) : String(cell).padStart(12))).join(''));
  row(['device', 'chains', 'accesses', 'resets', 'faults', 'seconds']);
  const total = { chains: 0, accesses: 0, resets: 0, faults: 0, seconds: 0 };
  for (const subject of subjects) {
    const counts = { chains: 0, accesses: 0, resets: 0, faults: 0 };
    const started = performance.now();
    const failure = fuzz(subject, { runs, seed, steps }, counts);
    const seconds = (performance.now() - started) / 1000;
    if (failure !== undefined) {
      report(failure);
      process.exit(EXIT_FOUND);
    }
    row([subject.name, ...Object.values(counts), seconds.toFixed(1)]);
    for (const [name, count] of Object.entries({ ...counts, seconds })) total[name as keyof typeof total] += count;
  }
  row(['total', total.chains, total.accesses, total.resets, total.faults, total.seconds.toFixed(1)]);
}
