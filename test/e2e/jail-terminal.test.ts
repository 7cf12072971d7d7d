import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { COOKED, Pty, RAW } from '../console/programs.ts';
import { folderFor, statusOf } from '../helpers/jail.ts';
import { EXECUTABLE } from '../helpers/mvm.ts';

// A terminal in front of a virtual machine in a jail: what holds without one (test/console/terminal.test.ts) holds with it.

const args = (base: string, ...more: string[]) => [
  ...[EXECUTABLE, 'run', '--jail', '--id', 'one', '--chroot-base-dir', base, ...more],
  ...['--kernel', buildGuest('spin')],
];
const pidIn = (base: string) => Number(readFileSync(join(base, 'mvm/one/root/mvm.pid'), 'utf8'));

for (const more of [[], ['--no-new-pid-ns']]) {
  test.serial(`stopped and continued by the shell, left by Ctrl-A x; ${more}`, async (t) => {
    const base = folderFor(t);
    const pty = new Pty(t, args(base, ...more));
    await pty.output.until('spinning');
    t.deepEqual(await pty.untilModes(RAW), RAW);
    const pid = pidIn(base);
    for (let round = 1; round <= 2; round++) {
      const from = pty.states.text.length;
      pty.signal('SIGTSTP');
      await pty.states.until('stopped ', from);
      t.deepEqual(await pty.modes(), COOKED);
      t.regex(statusOf(String(pid), 'State'), /^T/);
      pty.signal('SIGCONT');
      await pty.states.until('continued ', from);
      t.deepEqual(await pty.untilModes(RAW), RAW);
      t.notRegex(statusOf(String(pid), 'State'), /^T/);
    }
    pty.send('\x01x');
    const { code, modes } = await pty.exited;
    t.is(code, 0);
    t.deepEqual(modes, COOKED);
    t.is(pty.errors.text, '');
  });
}

test.serial('in the background it leaves the terminal alone', async (t) => {
  const base = folderFor(t);
  const background = join(import.meta.dirname, '../console/background.py');
  const pty = new Pty(t, ['python3', background, ...args(base)]);
  await pty.output.until('spinning');
  t.deepEqual(await pty.modes(), COOKED);
  pty.send('one\ntwo\n');
  await pty.output.until(/read two\r\nuntouched\r\nforeground\r\n/);
  pty.send('hello\n');
  t.deepEqual(await pty.untilModes(RAW), RAW);
  pty.send('\x01x');
  const { code, modes } = await pty.exited;
  t.is(code, 0);
  t.deepEqual(modes, COOKED);
});

test.serial('Ctrl-C of a terminal that is not raw ends both halves once', async (t) => {
  const base = folderFor(t);
  const pty = new Pty(t, ['bash', '-c', `trap : INT; "$@" < /dev/null; echo "status $?"`, 'bash', ...args(base)]);
  await pty.output.until('spinning\r\n');
  pty.send('\x03');
  await pty.exited;
  t.regex(pty.output.text, /\^Cstatus 130\r\n$/);
  t.is(pty.errors.text, '');
});
