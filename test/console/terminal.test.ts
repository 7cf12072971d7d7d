import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { COOKED, GUEST, Pty, RAW, temporaryDirectory } from './programs.ts';

const guest = GUEST.map((word) => `'${word}'`).join(' ');

/** A guest that echoes, on a terminal that has become raw. */
async function started(t: ExecutionContext, mode = 'echo', argument = '0'): Promise<Pty> {
  const pty = new Pty(t, [...GUEST, mode, argument], { WAYS: '1' });
  await pty.errors.until('ready');
  t.deepEqual(await pty.modes(), RAW);
  return pty;
}

test.serial('every key goes to the guest as it is, and what it prints comes out as it is', async (t) => {
  const pty = await started(t);
  pty.send('\x03\x1a\x1c\x13\r');
  await pty.output.until('\r');
  t.is(pty.output.text, '\x03\x1a\x1c\x13\r');
  pty.send('\n\x7f\xff');
  await pty.output.until(/\n/);
  pty.send('\x01x');
  const { code, modes } = await pty.exited;
  t.is(code, 0);
  t.deepEqual(modes, COOKED);
  t.regex(pty.errors.text, /left/);
});

test.serial('Ctrl-A h shows the help, Ctrl-A b breaks, Ctrl-A a sends Ctrl-A', async (t) => {
  const pty = await started(t);
  pty.send('\x01h');
  await pty.output.until('this help\r\n');
  t.regex(pty.output.text, /\r\nCtrl-A x {3}end the guest\r\n/);
  pty.send('\x01b');
  await pty.errors.until('break');
  const from = pty.output.text.length;
  pty.send('\x01a.');
  await pty.output.until('\x01.', from);
  pty.send('\x01x');
  t.is((await pty.exited).code, 0);
});

for (const [name, key, code] of [
  ['the end of the guest', '\x04', 0],
  ['process.exit', '\x05', 9],
  ['an exception that nobody catches', '\x14', 1],
  ['an exception in the event loop', '\x18', 1],
] as const) {
  test.serial(`the terminal is restored by ${name}`, async (t) => {
    const pty = await started(t);
    pty.send(key);
    const exited = await pty.exited;
    t.is(exited.code, code);
    t.deepEqual(exited.modes, COOKED);
  });
}

for (const [signal, number] of [
  ['SIGHUP', 1],
  ['SIGINT', 2],
  ['SIGQUIT', 3],
  ['SIGTERM', 15],
] as const) {
  test.serial(`the terminal is restored by ${signal}, which still kills`, async (t) => {
    const pty = await started(t);
    pty.signal(signal);
    const { code, modes } = await pty.exited;
    t.is(code, -number);
    t.deepEqual(modes, COOKED);
  });
}

test.serial('a signal that the program handles leaves the terminal raw until the program ends', async (t) => {
  const pty = await started(t, 'signals');
  pty.signal('SIGTERM');
  const { code, modes } = await pty.exited;
  t.is(code, 0);
  t.deepEqual(modes, COOKED);
  t.regex(pty.errors.text, /terminated/);
});

test.serial('stopped, the terminal is the shell’s; continued, it is raw again', async (t) => {
  const pty = await started(t);
  pty.signal('SIGTSTP');
  await pty.states.until('stopped');
  t.deepEqual(await pty.modes(), COOKED);
  pty.signal('SIGCONT');
  await pty.states.until('continued');
  t.deepEqual(await pty.untilModes(RAW), RAW);
  pty.send('on we go');
  await pty.output.until('on we go');
  pty.send('\x01x');
  const { code, modes } = await pty.exited;
  t.is(code, 0);
  t.deepEqual(modes, COOKED);
});

test.serial('SIGSTOP gives no chance, but SIGCONT makes the terminal raw again', async (t) => {
  const pty = await started(t);
  pty.signal('SIGSTOP');
  await pty.states.until('stopped');
  pty.cook();
  t.deepEqual(await pty.modes(), COOKED);
  pty.signal('SIGCONT');
  t.deepEqual(await pty.untilModes(RAW), RAW);
  pty.send('\x01x');
  t.deepEqual((await pty.exited).modes, COOKED);
});

test.serial('a window that is closed ends the program', async (t) => {
  // The end of its input, which comes with the signal, must not end it first.
  const pty = await started(t, 'raw');
  pty.hangUp();
  t.is((await pty.exited).code, -1);
});

test.serial('the size of the terminal, and its changes', async (t) => {
  const pty = await started(t);
  pty.resize(50, 132);
  await pty.errors.until('132x50');
  pty.resize(24, 80);
  await pty.errors.until('80x24');
  pty.send('\x01x');
  t.is((await pty.exited).code, 0);
});

test.serial('a paste of 1 MiB comes through whole', async (t) => {
  const pty = await started(t);
  const paste = Buffer.alloc(1 << 20, 'All work and no play. ').toString();
  pty.send(paste);
  pty.send('<end>');
  await pty.output.until('<end>');
  t.true(pty.output.text === `${paste}<end>`);
  pty.send('\x01x');
  t.is((await pty.exited).code, 0);
  t.regex(pty.errors.text, /dropped 0/);
});

test.serial('a guest that prints 10 MB while nobody looks', async (t) => {
  const pty = new Pty(t, [...GUEST, 'print', '10000000']);
  pty.reading = false;
  await pty.errors.until('ready');
  pty.reading = true;
  const { code, modes } = await pty.exited;
  t.is(code, 0);
  t.deepEqual(modes, COOKED);
  t.is(pty.output.text.length, 10_000_000);
  t.regex(pty.errors.text, /wrote 10000000 dropped 0/);
});

test.serial('with its output in a file, the guest is typed at, and the help is still on the terminal', async (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, 'out');
  const pty = new Pty(t, ['bash', '-c', `exec ${guest} echo >${file}`]);
  await pty.errors.until('ready');
  t.deepEqual(await pty.modes(), RAW);
  pty.send('typed\x01h');
  await pty.output.until('this help');
  pty.send('\x01x');
  t.deepEqual((await pty.exited).modes, COOKED);
  t.is(readFileSync(file, 'utf8'), 'typed');
});

test.serial('with its input from a pipe, the terminal is left alone', async (t) => {
  const pty = new Pty(t, ['bash', '-c', `(echo one; sleep 0.2; echo two) | ${guest} echo`]);
  await pty.errors.until('ready');
  t.deepEqual(await pty.modes(), COOKED);
  const { code } = await pty.exited;
  t.is(code, 0);
  t.is(pty.output.text, 'one\r\ntwo\r\n');
});

test.serial(
  'in the background it neither stops nor touches the terminal; brought to the front, it takes it',
  async (t) => {
    const pty = new Pty(t, ['python3', join(import.meta.dirname, 'background.py'), ...GUEST, 'echo']);
    await pty.errors.until('ready');
    t.deepEqual(await pty.modes(), COOKED);
    pty.send('one\n');
    await pty.output.until('read one');
    pty.send('two\n');
    await pty.output.until(/read two\r\nuntouched\r\nforeground\r\n/);
    // Nothing tells a process that it came to the front; the next line that is typed does.
    const from = pty.output.text.length;
    pty.send('hello\n');
    t.deepEqual(await pty.untilModes(RAW), RAW);
    await pty.output.until(/hello\n/, from);
    pty.send('\x01x');
    const { code, modes } = await pty.exited;
    t.is(code, 0);
    t.deepEqual(modes, COOKED);
    t.regex(pty.errors.text, /left/);
  },
);

test.serial('sent to the background while the terminal is raw, it ends there without being stopped', async (t) => {
  const pty = new Pty(t, ['python3', join(import.meta.dirname, 'background.py'), ...GUEST, 'echo']);
  await pty.errors.until('ready');
  pty.send('one\ntwo\n');
  await pty.output.until('foreground');
  pty.send('hello\n');
  t.deepEqual(await pty.untilModes(RAW), RAW);
  pty.signal('SIGUSR1');
  const { code, modes } = await pty.exited;
  t.is(code, 0);
  t.regex(pty.errors.text, /asked to/);
  t.deepEqual(modes, COOKED);
});

test.serial('in the background to its end, it leaves the terminal as the shell has it', async (t) => {
  const script = `set -m; ${guest} print 100 & wait $!; echo "status $?"`;
  const pty = new Pty(t, ['bash', '-c', script]);
  const { code, modes } = await pty.exited;
  t.is(code, 0);
  t.regex(pty.output.text, /status 0/);
  t.deepEqual(modes, COOKED);
});
