import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { GUEST, shell, temporaryDirectory } from './programs.ts';

const guest = GUEST.map((word) => `'${word}'`).join(' ');

/** Bytes of every value, and no pattern that a lost block would hide in. */
function noise(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = 12345;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[i] = state >>> 16;
  }
  return bytes;
}

test.serial('pipes: 1 MiB in and out again, unchanged', async (t) => {
  const bytes = noise(1 << 20);
  const { code, stdout, stderr } = await shell(`${guest} echo | cat`, bytes);
  t.is(code, 0);
  t.is(Buffer.compare(stdout, bytes), 0);
  t.regex(stderr, /end of input/);
});

test.serial('sockets, which cannot be opened once more', async (t) => {
  // Node gives a child sockets for pipes.
  const bytes = noise(300_000);
  const { code, stdout } = await shell(`exec ${guest} echo`, bytes);
  t.is(code, 0);
  t.is(Buffer.compare(stdout, bytes), 0);
});

test.serial('files: read to the end, written at the place where the shell is', async (t) => {
  const directory = temporaryDirectory(t);
  const bytes = noise(200_000);
  writeFileSync(join(directory, 'in'), bytes);
  const { code } = await shell(`cd ${directory} && (echo before; ${guest} echo <in; echo after) >out`);
  t.is(code, 0);
  const expected = Buffer.concat([Buffer.from('before\n'), bytes, Buffer.from('after\n')]);
  t.is(Buffer.compare(readFileSync(join(directory, 'out')), expected), 0);
});

test.serial('a file that is appended to keeps what was there', async (t) => {
  const directory = temporaryDirectory(t);
  const { code } = await shell(`cd ${directory} && echo old >out && echo new | ${guest} echo >>out`);
  t.is(code, 0);
  t.is(readFileSync(join(directory, 'out'), 'utf8'), 'old\nnew\n');
});

test.serial('a guest that prints 10 MB into a slow pipe', async (t) => {
  const { code, stdout, stderr } = await shell(`${guest} print 10000000 | (sleep 0.3; wc -c)`);
  t.is(code, 0);
  t.is(stdout.toString().trim(), '10000000');
  t.regex(stderr, /wrote 10000000 dropped 0/);
});

test.serial('no input: /dev/null, and a standard input that is closed', async (t) => {
  for (const redirection of ['</dev/null', '<&-']) {
    const { code, stdout, stderr } = await shell(`${guest} echo ${redirection}`);
    t.is(code, 0, redirection);
    t.is(stdout.length, 0);
    t.regex(stderr, /end of input/);
  }
});

test.serial('a named pipe for input ends when its writer does', async (t) => {
  const directory = temporaryDirectory(t);
  const { code, stdout } = await shell(`cd ${directory} && mkfifo fifo && (echo one >fifo &) && ${guest} echo <fifo`);
  t.is(code, 0);
  t.is(stdout.toString(), 'one\n');
});

test.serial('output to /dev/null', async (t) => {
  const { code, stderr } = await shell(`${guest} print 1000000 >/dev/null`);
  t.is(code, 0);
  t.regex(stderr, /wrote 1000000 dropped 0/);
});

test.serial('standard output that is closed early is one error, with its exit code', async (t) => {
  const { stdout, stderr } = await shell(`${guest} print 10000000 | head -c 1; echo " \${PIPESTATUS[0]}"`);
  t.regex(stdout.toString(), /^. 6\n$/);
  t.is(stderr.match(/standard output: its reader closed it early/g)?.length, 1);
});

test.serial('a full disk is one error, with its exit code', async (t) => {
  const { code, stderr } = await shell(`${guest} print 100 >/dev/full`);
  t.is(code, 6);
  t.is(stderr.match(/standard output: the disk is full/g)?.length, 1);
});

test.serial('a file that must not grow is an error, not a signal', async (t) => {
  const directory = temporaryDirectory(t);
  const { code, stderr } = await shell(`cd ${directory} && ulimit -f 1 && ${guest} print 100000 >out`);
  t.is(code, 6);
  t.regex(stderr, /standard output: .*EFBIG/);
  t.is(readFileSync(join(directory, 'out')).length, 1024);
});

test.serial('what we share with others stays blocking', async (t) => {
  const flags = `python3 -c "import fcntl, os; print([bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK) for fd in (0, 9)])"`;
  // Descriptor 9 is the pipe that the guest has for its standard output.
  const { code, stdout } = await shell(`(echo hi; sleep 0.5) | (${guest} echo >&9; ${flags}) 9>&1 | cat`);
  t.is(code, 0);
  t.is(stdout.toString(), 'hi\n[False, False]\n');
});

test.serial('a descriptor that may not be opened once more is written to with care, and does not block', async (t) => {
  // Without /proc nothing can be opened once more: a mount namespace of its own hides it.
  const unshare = 'unshare --user --map-root-user --mount';
  if ((await shell(`${unshare} true`)).code !== 0) {
    t.log('no user namespaces here: sockets cover the same code');
    t.pass();
    return;
  }
  const bytes = noise(1 << 20);
  const { code, stdout } = await shell(
    `cat | ${unshare} sh -c "mount -t tmpfs none /proc && exec ${guest} echo" | (sleep 0.2; cat)`,
    bytes,
  );
  t.is(code, 0);
  t.is(Buffer.compare(stdout, bytes), 0);
});

test.serial('a named pipe that nobody reads yet', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'fifo');
  execFileSync('mkfifo', [path]);
  const { HostConsole } = await import('../../lib/console/host-console.ts');
  const { EventLoop } = await import('../../lib/loop/event-loop.ts');
  const loop = new EventLoop();
  const host = HostConsole.file(loop, path, { failed: (error) => t.fail(error.message) });
  host.output.write(Buffer.from('early'), 0, 5);
  host.output.flush();
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const bytes = Buffer.alloc(100);
  t.is(bytes.toString('latin1', 0, readSync(reader, bytes)), 'early');
  closeSync(reader);
  host.close();
  loop.close();
});

test.serial('a path that cannot be opened is refused by name', async (t) => {
  const { HostConsole } = await import('../../lib/console/host-console.ts');
  const { EventLoop } = await import('../../lib/loop/event-loop.ts');
  const { ConfigError } = await import('../../lib/errors.ts');
  const loop = new EventLoop();
  const error = t.throws(() => HostConsole.file(loop, '/nowhere/at/all', { failed: () => {} }), {
    instanceOf: ConfigError,
  });
  t.is(error.toLine(), "/nowhere/at/all: cannot open it for the guest's output (ENOENT)");
  loop.close();
});
