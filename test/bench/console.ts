import { parseArgs } from 'node:util';
import { guestCmdline, prepareGuest } from '../../fixtures/prepare.ts';
import { adler32, printedLines } from '../helpers/guest-text.ts';
import { Mvm } from '../helpers/mvm.ts';
import { machineFacts, table } from './lib/report.ts';
import { median } from './lib/statistics.ts';

// How fast a Linux guest's console is, over the serial port and over virtio: what init prints through the terminal (lines of 64 bytes, in
// writes of 4 KiB), and what it reads with the terminal raw. Guests take turns, so that all see the same host.

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, kib: { type: 'string', default: '64' } },
});
const rounds = Number(values.rounds);
const kib = Number(values.kib);
const guest = await prepareGuest();
const text = printedLines(kib);

const CONSOLES = [
  ['serial port', 'ttyS0', 'serial'],
  ['virtio console', 'hvc0', 'virtio'],
] as const;

/** KiB a second that one guest prints and reads. */
async function measure(device: 'ttyS0' | 'hvc0', option: string): Promise<{ printed: number; read: number }> {
  const cmdline = guestCmdline({ console: device, actions: [`print=${kib}`, `take=${kib}`, 'poweroff'] });
  const machine = ['--kernel', guest.kernel, '--initrd', guest.initrd, '--cmdline', cmdline];
  await using mvm = new Mvm(['run', ...machine, '--console', option]);
  const firstLine = await mvm.waitFor(/^00000000 a/m);
  const taking = await mvm.waitFor(/^taking /m);
  mvm.type(text);
  const read = await mvm.waitFor(new RegExp(`^console: ${text.length} bytes, Adler-32 ${adler32(text)}`, 'm'));
  const { code, stderr } = await mvm.end();
  if (code !== 0) throw new Error(`mvm ended with ${code}: ${stderr}`);
  return { printed: (kib * 1000) / (taking - firstLine), read: (kib * 1000) / (read - taking) };
}

const results = CONSOLES.map(() => ({ printed: [] as number[], read: [] as number[] }));
for (let round = 0; round < rounds; round++) {
  for (const [i, [name, device, option]] of CONSOLES.entries()) {
    const { printed, read } = await measure(device, option);
    results[i]!.printed.push(printed);
    results[i]!.read.push(read);
    process.stderr.write(`${name}: ${printed.toFixed(1)} KiB/s printed, ${read.toFixed(1)} KiB/s read\n`);
  }
}
const speeds = results.map(({ printed, read }) => [median(printed), median(read)] as const);
const rows = [['', 'printed', 'read']];
for (const [i, [name]] of CONSOLES.entries())
  rows.push([name, ...speeds[i]!.map((speed) => `${speed.toFixed(1)} KiB/s`)]);
const ratios = [0, 1].map((way) => speeds[1]![way]! / speeds[0]![way]!);
rows.push(['ratio', ...ratios.map((ratio) => ratio.toFixed(1))]);
process.stdout.write(
  `A Linux guest's console, ${kib} KiB each way, ${rounds} rounds in turn, medians\n\n${table(rows)}\n`,
);
process.stdout.write(`${machineFacts().join('\n')}\n`);
