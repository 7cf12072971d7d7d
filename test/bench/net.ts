import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { EXECUTABLE } from '../helpers/mvm.ts';
import { GUEST_MAC, makeTap, NetPeer, netGuestArguments, TAP } from '../helpers/net-guest.ts';
import { enterNetNamespace } from '../helpers/net-namespace.ts';
import { measuredRun } from './lib/measured-run.ts';
import { buildProgram } from './lib/programs.ts';
import { microvm } from './lib/qemu.ts';
import { machineFacts, table } from './lib/report.ts';
import { median } from './lib/statistics.ts';

// The same guest (fixtures/bare-metal/guests/net) on the same tap under mvm and under QEMU's microvm, which has virtio-mmio: in each round every VMM
// once for each workload, in turn. The guest polls, and neither side uses offloads.
//
// What the guest sends, the host's kernel counts and drops: nobody listens. What it receives was sent before and waits in the tap's queue, so that
// the sender's work is not part of what is measured. Round trips are answered by a program on a packet socket (lib/net-peer.c).

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    /** Of each direction, after as many that do not count. */
    frames: { type: 'string', default: '300000' },
    /** Workloads and VMMs whose name contains this. */
    only: { type: 'string', default: '' },
    /** Another executable of mvm. */
    mvm: { type: 'string', default: EXECUTABLE },
  },
});
const rounds = Number(values.rounds);
const sent = Number(values.frames);
/** They have to fit into the tap's queue, and the host's memory. */
const received = Math.min(sent, 40_000);
const trips = Math.min(sent, 5000);

const WORKLOADS: readonly (readonly [name: string, mode: 'blast' | 'drain' | 'ping', length: number, count: number])[] =
  [
    ['guest sends frames of 64 bytes', 'blast', 64, sent],
    ['guest sends frames of 1500 bytes', 'blast', 1500, sent],
    ['guest receives frames of 64 bytes', 'drain', 64, received],
    ['guest receives frames of 1500 bytes', 'drain', 1500, received],
    ['round trip of 64 bytes', 'ping', 64, trips],
    ['round trip of 1500 bytes', 'ping', 1500, trips],
  ];

enterNetNamespace();
makeTap({ queueLength: 2 * received + 1000 });
const folder = mkdtempSync(join(tmpdir(), 'mvm-bench-net-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
const config = join(folder, 'vm.json');
const kernel = buildGuest('net');
const tscKhz = Number(execFileSync(buildProgram('reference-vmm'), ['--tsc-khz'], { encoding: 'utf8' }));

const qemu = (vhost: 'on' | 'off') => (cmdline: string) =>
  microvm({
    kernel,
    cmdline,
    devices: [
      ...['-netdev', `tap,id=net,ifname=${TAP},script=no,downscript=no,vhost=${vhost}`],
      ...['-device', `virtio-net-device,netdev=net,mac=${GUEST_MAC}`],
    ],
  });
const mvm = (transport: 'mmio' | 'pci') => (cmdline: string) => [
  values.mvm,
  ...netGuestArguments({ config, transport, cmdline }),
];

const REFERENCE = 'QEMU vhost=off';
const VMMS: readonly (readonly [name: string, command: (cmdline: string) => string[]])[] = [
  [REFERENCE, qemu('off')],
  ...(existsSync('/dev/vhost-net') ? [['QEMU vhost=on', qemu('on')] as const] : []),
  ['mvm, mmio', mvm('mmio')],
  ['mvm, pci', mvm('pci')],
];

interface Result {
  /** Frames, or round trips, a second. */
  readonly rate: number;
  /** Microseconds: of round trips, and CPU time of the VMM's threads but the vCPU's, a frame or round trip. */
  readonly p50: number;
  readonly p99: number;
  readonly cpu: number;
}

async function measure(
  command: (cmdline: string) => string[],
  [, mode, length, count]: (typeof WORKLOADS)[number],
): Promise<Result> {
  const warmup = mode === 'ping' ? Math.round(count / 5) : count;
  const settle = Math.round((30 * tscKhz) / 1e6);
  const cmdline = `mode=${mode} length=${length} warmup=${warmup} count=${count} settle=${settle}`;
  await using echo = mode === 'ping' ? new NetPeer('echo') : undefined;
  const ready = async (): Promise<void> => {
    await echo?.waitFor(/^ready$/m);
    if (mode !== 'drain') return;
    await using fill = new NetPeer('fill', String(warmup + count), String(length));
    await fill.waitFor(/^filled$/m);
  };
  const { output, cpu } = await measuredRun(command(cmdline), { ready });
  const field = (name: string) => Number(new RegExp(`\\b${name}=(\\d+)`).exec(output)?.[1]);
  if (field('frames') !== count || (mode === 'drain' && field('wrong') !== 0)) {
    throw new Error(`the guest printed ${JSON.stringify(output)}`);
  }
  const microseconds = (cycles: number) => (cycles / tscKhz) * 1000;
  return {
    rate: (count / field('cycles')) * tscKhz * 1000,
    p50: microseconds(field('p50')),
    p99: microseconds(field('p99')),
    cpu: (cpu.others * 1000) / count,
  };
}

process.stdout.write(
  `virtio-net on a tap, polling guest, ${rounds} rounds in turn: medians; times in µs; CPU: of all the VMM's threads but the vCPU’s, a frame or ` +
    'round trip;\nrate against QEMU: the median of the rounds’ ratios, from, to; and of the best rounds\n\n',
);
for (const workload of WORKLOADS) {
  const [name, mode, length] = workload;
  const vmms = VMMS.filter(([vmm]) => `${name} ${vmm}`.includes(values.only));
  if (vmms.length === 0) continue;
  const results = new Map<string, Result[]>(vmms.map(([vmm]) => [vmm, []]));
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < vmms.length; i++) {
      const [vmm, command] = vmms[(round + i) % vmms.length]!;
      results.get(vmm)!.push(await measure(command, workload));
    }
    process.stderr.write('.');
  }
  const isPing = mode === 'ping';
  rows(name, isPing, length, results);
}
process.stderr.write('\n');
process.stdout.write(`${machineFacts().join('\n')}\n`);

function rows(name: string, isPing: boolean, length: number, results: Map<string, Result[]>): void {
  const rows = [
    [name, isPing ? '/s' : 'frames/s', ...(isPing ? ['p50', 'p99'] : ['MB/s']), 'CPU', '× QEMU', 'from', 'to', 'best'],
  ];
  for (const [vmm, all] of results) {
    const middle = (key: keyof Result) => median(all.map((result) => result[key]));
    const best = (of: readonly Result[]) => Math.max(...of.map(({ rate }) => rate));
    const others = vmm.startsWith('QEMU') ? undefined : results.get(REFERENCE);
    const ratios = others === undefined ? [] : all.map(({ rate }, i) => rate / others[i]!.rate);
    rows.push([
      vmm,
      String(Math.round(middle('rate'))),
      ...(isPing
        ? [middle('p50').toFixed(1), middle('p99').toFixed(1)]
        : [((middle('rate') * length) / 1e6).toFixed(0)]),
      middle('cpu').toFixed(2),
      ...(others === undefined
        ? []
        : [median(ratios), Math.min(...ratios), Math.max(...ratios), best(all) / best(others)].map((ratio) =>
            ratio.toFixed(2),
          )),
    ]);
  }
  process.stdout.write(`${table(rows)}\n`);
}
