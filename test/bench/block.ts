import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { MIB } from '../../lib/memory/layout.ts';
import { blockGuestArguments } from '../helpers/block-guest.ts';
import { EXECUTABLE } from '../helpers/mvm.ts';
import { measuredRun } from './lib/measured-run.ts';
import { buildProgram } from './lib/programs.ts';
import { microvm } from './lib/qemu.ts';
import { QUIET, waitForQuiet } from './lib/quiet.ts';
import { machineFacts, table } from './lib/report.ts';
import { median } from './lib/statistics.ts';

// The same guest (fixtures/bare-metal/guests/block) drives the same image under mvm and under QEMU's microvm, which has virtio-mmio: in each
// round every VMM once for each workload, in turn. The guest polls, so that its own CPU is never asleep and no interrupts are sent; both VMMs may use the
// other CPU. The image is a file in the host's page cache, made anew for each run, and neither VMM uses O_DIRECT: QEMU's cache=writeback, which with a
// guest that never flushes is mvm's cache_type of either kind. Guest memory is in transparent huge pages, which QEMU always asks for.

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    /** Of each measurement, after a warm-up as long as half of it, at least 0.3 s. */
    seconds: { type: 'string', default: '0.5' },
    /** Where the image is made: its file system is part of what is measured. */
    directory: { type: 'string', default: tmpdir() },
    /** How often a run is made again if something else on the machine disturbed it; the run that was disturbed least counts. */
    retries: { type: 'string', default: '3' },
    /** Seconds to wait for a quiet machine before each run. */
    patience: { type: 'string', default: '2' },
    /** Workloads and VMMs whose name contains this. */
    only: { type: 'string', default: '' },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const retries = Number(values.retries);
const patience = Number(values.patience);

const IMAGE_MIB = 256;
const WORKLOADS: readonly (readonly [name: string, cmdline: string, size: number])[] = [
  ['random 4 KiB reads, depth 1', 'op=read access=random size=4096 depth=1', 4096],
  ['random 4 KiB reads, depth 32', 'op=read access=random size=4096 depth=32', 4096],
  ['random 4 KiB writes, depth 1', 'op=write access=random size=4096 depth=1', 4096],
  ['random 4 KiB writes, depth 32', 'op=write access=random size=4096 depth=32', 4096],
  ['sequential 128 KiB reads, depth 8', 'op=read access=sequential size=131072 depth=8', 131072],
  ['sequential 128 KiB writes, depth 8', 'op=write access=sequential size=131072 depth=8', 131072],
];

const folder = mkdtempSync(join(values.directory, 'mvm-bench-block-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
// An end by a signal is one too.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));
const image = join(folder, 'disk.img');
const config = join(folder, 'vm.json');
const kernel = buildGuest('block');
const tscKhz = Number(execFileSync(buildProgram('reference-vmm'), ['--tsc-khz'], { encoding: 'utf8' }));

const qemu = (aio: string) => (cmdline: string) =>
  microvm({
    kernel,
    cmdline,
    devices: [
      ...['-object', 'iothread,id=io'],
      ...['-drive', `if=none,id=disk,format=raw,cache=writeback,aio=${aio},file=${image}`],
      ...['-device', 'virtio-blk-device,drive=disk,iothread=io,queue-size=256'],
    ],
  });
const mvm = (engine: 'Sync' | 'Async', transport: 'mmio' | 'pci') => (cmdline: string) => [
  EXECUTABLE,
  ...blockGuestArguments({ config, image, engine, transport, cmdline, hugePages: 'Transparent' }),
];

/** Each VMM, and the one that it is to be compared with: the same way to the kernel. */
const VMMS: readonly (readonly [name: string, command: (cmdline: string) => string[], reference: string])[] = [
  ['QEMU aio=threads', qemu('threads'), ''],
  ['mvm Sync, mmio', mvm('Sync', 'mmio'), 'QEMU aio=threads'],
  ['mvm Sync, pci', mvm('Sync', 'pci'), 'QEMU aio=threads'],
  ['QEMU aio=io_uring', qemu('io_uring'), ''],
  ['mvm Async, mmio', mvm('Async', 'mmio'), 'QEMU aio=io_uring'],
  ['mvm Async, pci', mvm('Async', 'pci'), 'QEMU aio=io_uring'],
];

interface Result {
  /** Operations a second. */
  readonly rate: number;
  /** Microseconds: latencies, and CPU time of the VMM's threads but the vCPU's, an operation. */
  readonly p50: number;
  readonly p99: number;
  readonly cpu: number;
  /** See `MeasuredRun`. */
  readonly disturbance: number;
}

/**
 * A new image, all of it in the page cache and not yet on its way to the disk. It is written in requests of the size that will be measured: ext4 has
 * folios as large as the writes that made them, and a small write into a large one costs many times more.
 */
function makeImage(size: number): void {
  rmSync(image, { force: true });
  const file = openSync(image, 'w');
  const block = Buffer.alloc(size);
  for (let i = 0; i < block.length; i++) block[i] = Math.imul(i, 0x9e37_79b1) >>> 24;
  for (let written = 0; written < IMAGE_MIB * MIB; written += size) writeSync(file, block);
  closeSync(file);
}

async function measure(command: (cmdline: string) => string[], workload: string, size: number): Promise<Result> {
  makeImage(size);
  await waitForQuiet(patience);
  const millions = (time: number) => Math.round((time * tscKhz) / 1000);
  const warmup = Math.max(0.3, seconds / 2);
  const times = `warmup=${millions(warmup)} cycles=${millions(seconds)} settle=${millions(0.03)}`;
  const { output, cpu, disturbance } = await measuredRun(command(`mode=bench ${workload} ${times}`));
  const fields = Object.fromEntries(
    [...output.matchAll(/(\w+)=(\d+)/g)].map(([, name, value]) => [name, Number(value)]),
  );
  const { operations, failed, cycles, p50, p99 } = fields as Record<
    'operations' | 'failed' | 'cycles' | 'p50' | 'p99',
    number
  >;
  if (failed !== 0 || !(operations > 0)) throw new Error(`the guest printed ${JSON.stringify(output)}`);
  const microseconds = (value: number) => (value / tscKhz) * 1000;
  return {
    rate: (operations / cycles) * tscKhz * 1000,
    p50: microseconds(p50),
    p99: microseconds(p99),
    cpu: (cpu.others * 1000) / operations,
    disturbance,
  };
}

async function measureQuietly(command: (cmdline: string) => string[], workload: string, size: number): Promise<Result> {
  let best = await measure(command, workload, size);
  for (let retry = 0; retry < retries && best.disturbance > QUIET; retry++) {
    const again = await measure(command, workload, size);
    if (again.disturbance < best.disturbance) best = again;
  }
  return best;
}

process.stdout.write(
  `virtio-blk from a polling guest, ${rounds} rounds of ${seconds} s each in turn: medians; times in µs; CPU: of all the VMM's threads but the ` +
    'vCPU’s, an operation;\nthroughput against QEMU with the same way to the kernel: the median of the rounds’ ratios, from, to\n\n',
);
const every: Result[] = [];
for (const [name, workload, size] of WORKLOADS) {
  const vmms = VMMS.filter(([vmm]) => `${name} ${vmm}`.includes(values.only));
  if (vmms.length === 0) continue;
  const results = new Map<string, Result[]>(vmms.map(([vmm]) => [vmm, []]));
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < vmms.length; i++) {
      const [vmm, command] = vmms[(round + i) % vmms.length]!;
      results.get(vmm)!.push(await measureQuietly(command, workload, size));
    }
    process.stderr.write('.');
  }
  const rows = [[name, 'op/s', 'MiB/s', 'p50', 'p99', 'CPU', '× QEMU', 'from', 'to']];
  for (const [vmm, , reference] of vmms) {
    const all = results.get(vmm)!;
    every.push(...all);
    const middle = (key: keyof Result) => median(all.map((result) => result[key]));
    const others = results.get(reference);
    const ratios = others === undefined ? [] : all.map(({ rate }, i) => rate / others[i]!.rate);
    rows.push([
      vmm,
      String(Math.round(middle('rate'))),
      String(Math.round((middle('rate') * size) / MIB)),
      middle('p50').toFixed(1),
      middle('p99').toFixed(1),
      middle('cpu').toFixed(2),
      ...(ratios.length === 0
        ? []
        : [median(ratios), Math.min(...ratios), Math.max(...ratios)].map((ratio) => ratio.toFixed(2))),
    ]);
  }
  process.stdout.write(`${table(rows)}\n`);
}
process.stderr.write('\n');
const disturbed = every.filter(({ disturbance }) => disturbance > QUIET).length;
process.stdout.write(`${disturbed} of ${every.length} runs were disturbed: others took more than ${QUIET} of a CPU\n`);
process.stdout.write(`${machineFacts().join('\n')}\n`);
