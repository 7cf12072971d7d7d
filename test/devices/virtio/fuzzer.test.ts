import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { FUZZ_SUBJECTS, type FuzzSubject } from '../../helpers/virtio/fuzz-subjects.ts';
import { describe, fuzz } from '../../helpers/virtio/fuzzer.ts';
import { ListTape } from '../../helpers/virtio/tape.ts';

const FUZZ = 'test/devices/virtio/fuzz.ts';
const nothing = () => ({ chains: 0, accesses: 0, resets: 0, faults: 0 });

/** Finds fault with two large numbers in a row. */
const fragile: FuzzSubject = {
  name: 'fragile',
  device: 'fragile',
  transport: 'pci',
  run(tape, steps, counts) {
    for (let i = 0; i < steps && !tape.ended; i++) {
      counts.chains++;
      if (tape.next() > 0xc000_0000 && tape.next() > 0xc000_0000) throw new Error('two large numbers');
    }
  },
};

test('every device is fuzzed on each transport by one command, and a seed does the same again', async (t) => {
  const run = async () => (await promisify(execFile)(process.execPath, [FUZZ, '--runs', '4', '--seed', '77'])).stdout;
  // All but the last column, which is of time.
  const rows = (output: string) => output.split('\n').map((row) => row.replace(/ +[\d.]+$/, ''));
  const [first, second] = await Promise.all([run(), run()]);
  t.deepEqual(rows(first), rows(second));
  for (const { name } of FUZZ_SUBJECTS) t.true(first.includes(`\n${name} `), name);
  const devices = new Set(FUZZ_SUBJECTS.map(({ device, transport }) => `${device}/${transport ?? ''}`));
  for (const device of ['block', 'net', 'console', 'vsock', 'entropy', 'balloon']) {
    for (const transport of ['mmio', 'pci']) t.true(devices.has(`${device}/${transport}`), `${device}, ${transport}`);
  }
  t.regex(first, /^total +\d{5,} +\d{5,} +\d{3,} +\d{3,} +[\d.]+$/m);
});

test('what is found is shrunk, and told with the commands that do it again', (t) => {
  const counts = nothing();
  const failure = fuzz(fragile, { runs: 50, seed: 5, steps: 100 }, counts);
  t.truthy(failure);
  const { seed, error, tape } = failure!;
  t.true(counts.chains > 0);
  t.is(error.message, 'two large numbers');
  t.is(tape.length, 2);
  t.throws(() => fragile.run(new ListTape(tape), 100, nothing()), { message: 'two large numbers' });
  t.like(fuzz(fragile, { runs: 1, seed, steps: 100 }, nothing()), { seed, tape });
  const text = describe(failure!, 100, '/x/tape.json');
  t.true(text.startsWith(`fragile: seed ${seed}: Error: two large numbers\n`));
  const command = 'npm run fuzz -- --device fragile --transport pci --steps 100';
  t.true(text.includes(`\nagain:  ${command} --runs 1 --seed ${seed}\n`), text);
  t.true(text.includes(`\nshrunk: ${command} --tape /x/tape.json    (2 numbers)`), text);
});

test('a tape is run again; what makes no sense on the command line is told', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mvm-fuzz-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const tape = join(folder, 'tape.json');
  writeFileSync(tape, '[1, 2, 3, 4294967295]');
  const run = (...args: string[]) => promisify(execFile)(process.execPath, [FUZZ, ...args]);
  const { stdout } = await run('--device', 'net', '--transport', 'pci', '--tape', tape);
  t.is(stdout, 'net, pci: nothing found\n');
  for (const [args, message] of [
    [['--device', 'floppy'], /^fuzz: there is no such device or transport; devices: block, net, /],
    [['--runs', 'many'], /^fuzz: --runs must be a whole number\n$/],
    [['--tape', tape], /^fuzz: --tape needs --device and --transport\n$/],
  ] as const) {
    const error = await t.throwsAsync(run(...args));
    t.like(error, { code: 2 });
    t.regex((error as unknown as { stderr: string }).stderr, message);
  }
});
