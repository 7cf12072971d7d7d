import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { guestCmdline, prepareGuest } from '../../fixtures/prepare.ts';
import { runConsoleGuest } from '../helpers/console-guest.ts';
import { adler32, printedLines } from '../helpers/guest-text.ts';
import { Mvm } from '../helpers/mvm.ts';
import { buildProgram } from './lib/programs.ts';
import { machineFacts, table } from './lib/report.ts';
import { median } from './lib/statistics.ts';

// How fast a guest's console is, over the serial port and over virtio, printing and reading. A Linux guest: what init prints through the terminal (lines
// of 64 bytes, in writes of 4 KiB), and what it reads with the terminal raw. And a bare-metal guest, which drives the devices at once: mvm itself.
// Guests take turns, so that all see the same host.

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, kib: { type: 'string', default: '64' } },
});
const rounds = Number(values.rounds);
const kib = Number(values.kib);
const guest = await prepareGuest();
const text = printedLines(kib);
const folder = mkdtempSync(join(tmpdir(), 'mvm-bench-console-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
const tscKhz = Number(execFileSync(buildProgram('reference-vmm'), ['--tsc-khz'], { encoding: 'utf8' }));

/** KiB a second. */
interface Speeds {
  readonly printed: number;
  readonly read: number;
}

async function measureLinux(device: 'serial' | 'virtio'): Promise<Speeds> {
  const console = device === 'serial' ? 'ttyS0' : 'hvc0';
  const cmdline = guestCmdline({ console, actions: [`print=${kib}`, `take=${kib}`, 'poweroff'] });
  const machine = ['--kernel', guest.kernel, '--initrd', guest.initrd, '--cmdline', cmdline];
  await using mvm = new Mvm(['run', ...machine, '--console', device]);
  const firstLine = await mvm.waitFor(/^00000000 a/m);
  const taking = await mvm.waitFor(/^taking /m);
  mvm.type(text);
  const read = await mvm.waitFor(new RegExp(`^console: ${text.length} bytes, Adler-32 ${adler32(text)}`, 'm'));
  const { code, stderr } = await mvm.end();
  if (code !== 0) throw new Error(`mvm ended with ${code}: ${stderr}`);
  return { printed: (kib * 1000) / (taking - firstLine), read: (kib * 1000) / (read - taking) };
}

/** So much as takes a second or so. */
const BARE_METAL_KIB = { serial: 32, virtio: 32 * 1024 } as const;

async function measureBareMetal(device: 'serial' | 'virtio'): Promise<Speeds> {
  const size = BARE_METAL_KIB[device];
  const { printed, read } = runConsoleGuest(folder, device, { printKib: size, readKib: size });
  const cycles = size * tscKhz * 1000;
  return { printed: cycles / printed, read: cycles / read };
}

const GUESTS = [
  ['Linux', measureLinux],
  ['bare metal', measureBareMetal],
] as const;
const DEVICES = ['serial', 'virtio'] as const;

const rows = [['', 'printed', 'read']];
for (const [name, measure] of GUESTS) {
  const results: Record<(typeof DEVICES)[number], Speeds[]> = { serial: [], virtio: [] };
  for (let round = 0; round < rounds; round++) {
    for (const device of DEVICES) results[device].push(await measure(device));
  }
  const speeds = DEVICES.map((device) => ({
    printed: median(results[device].map(({ printed }) => printed)),
    read: median(results[device].map(({ read }) => read)),
  }));
  for (const [i, device] of DEVICES.entries()) {
    const { printed, read } = speeds[i]!;
    rows.push([`${name}, ${device}`, ...[printed, read].map((speed) => `${speed.toFixed(1)} KiB/s`)]);
  }
  const [serial, virtio] = speeds as [Speeds, Speeds];
  const ratios = [virtio.printed / serial.printed, virtio.read / serial.read];
  rows.push(['  virtio/serial', ...ratios.map((ratio) => ratio.toFixed(1))]);
}
process.stdout.write(`A guest's console, each way, ${rounds} rounds in turn, medians\n\n${table(rows)}\n`);
process.stdout.write(`${machineFacts().join('\n')}\n`);
