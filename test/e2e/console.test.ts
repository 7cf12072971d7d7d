import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { type GuestOptions, guestCmdline, prepareGuest } from '../../fixtures/prepare.ts';
import { ExitCode } from '../../lib/errors.ts';
import { COOKED, Pty, RAW, temporaryDirectory } from '../console/programs.ts';
import { runConsoleGuest } from '../helpers/console-guest.ts';
import { adler32, printedLines } from '../helpers/guest-text.ts';
import { EXECUTABLE, Mvm, runMvm } from '../helpers/mvm.ts';

// The virtio console as Linux has it, hvc0: what the tests of the serial port show, and the size of a terminal.

const guest = await prepareGuest();

function args(actions: readonly string[], console: string, options: GuestOptions = {}): string[] {
  const cmdline = guestCmdline({ console: 'hvc0', actions, ...options });
  return ['run', '--kernel', guest.kernel, '--initrd', guest.initrd, '--cmdline', cmdline, '--console', console];
}

test.serial('through pipes: what is typed reaches the guest, and nothing of what it prints is lost', async (t) => {
  const typed = printedLines(16);
  await using mvm = new Mvm(args(['echo', 'take=16', 'print=64', 'poweroff'], 'virtio'));
  await mvm.waitFor(/^type a line/m);
  mvm.type('grüße, guest\n');
  await mvm.waitFor(/^taking 16 KiB/m);
  mvm.type(typed);
  const { code, stdout, stderr } = await mvm.end();
  t.is(code, ExitCode.Ok, stderr);
  t.is(stderr, '');
  t.true(stdout.includes(`echo: ${Buffer.from('grüße, guest').toString('latin1')}`), stdout);
  t.regex(stdout, new RegExp(`^console: ${typed.length} bytes, Adler-32 ${adler32(typed)}\r?$`, 'm'));
  t.true(stdout.replaceAll('\r', '').includes(printedLines(64).toString()), 'all lines, in order');
});

test.serial('in bulk: 8 MiB each way, no byte lost, changed or out of place', (t) => {
  // A bare-metal guest, which runs natively everywhere.
  t.notThrows(() => runConsoleGuest(temporaryDirectory(t), 'virtio', { printKib: 8192, readKib: 8192 }));
  t.notThrows(() => runConsoleGuest(temporaryDirectory(t), 'serial', { printKib: 4, readKib: 4 }));
});

test.serial('the serial port prints to the same output: the kernel is heard from its first line on', async (t) => {
  const options = { verbose: true, extra: ['earlycon=uart8250,io,0x3f8,115200'] };
  const { code, stdout, stderr } = await runMvm(args(['poweroff'], 'virtio', options));
  t.is(code, ExitCode.Ok, stderr);
  // On the serial port before hvc0 is there, and on hvc0 after; nothing twice.
  t.is(stdout.split('Linux version ').length, 2, stdout);
  t.regex(stdout, /console \[hvc0\] enabled\r?$/m);
  t.regex(stdout, /^Linux .*\r?\nmemory: \d+ KiB\r?\nCPUs: 1\r?$/m);
});

test.serial('into a file, while the serial port stays where it is', async (t) => {
  const file = join(temporaryDirectory(t), 'hvc0.log');
  const { code, stdout, stderr } = await runMvm(args(['print=4', 'poweroff'], file));
  t.is(code, ExitCode.Ok, stderr);
  t.is(stdout, '');
  const printed = readFileSync(file, 'latin1').replaceAll('\r', '');
  t.true(printed.startsWith('Linux '), printed);
  t.true(printed.endsWith(printedLines(4).toString()), printed);
});

test.serial('on a terminal: its size and changes of it, a break, and Ctrl-A x', async (t) => {
  const pty = new Pty(t, [EXECUTABLE, ...args(['size', 'take=1', 'idle'], 'virtio')]);
  await pty.output.until(/^console: \d+ columns, \d+ rows\r?$/m);
  t.deepEqual(await pty.modes(), RAW);
  pty.resize(40, 132);
  await pty.output.until(/^console: 132 columns, 40 rows\r?$/m);
  await pty.output.until(/^taking 1 KiB/m);
  // Linux's way to a SysRq key on a console without breaks, and Ctrl-A itself.
  const typed = Buffer.concat([Buffer.from('\x0f\x01\x03'), printedLines(1).subarray(3)]);
  pty.send('\x01b\x01a');
  pty.send(typed.subarray(2));
  await pty.output.until(new RegExp(`^console: 1024 bytes, Adler-32 ${adler32(typed)}\r?$`, 'm'));
  pty.send('\x01x');
  const { code, modes } = await pty.exited;
  t.is(code, ExitCode.Ok);
  t.deepEqual(modes, COOKED);
});
