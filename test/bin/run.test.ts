import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { directoryWith, fails, MVM, mvm } from './mvm.ts';
import { elfOf, print, RESET, SPIN, TRIPLE_FAULT } from './tiny-kernel.ts';
import { WITHOUT_KVM, withoutPermission } from './without-kvm.ts';

const BAD_CONFIG = 3;
const HOST_UNABLE = 4;
const GUEST_CRASHED = 5;
const OUTPUT_FAILED = 6;

const GREETING = 'Hello from the guest\n';
const kernels = {
  hello: elfOf([...print(GREETING), ...RESET, ...SPIN]),
  crash: elfOf(TRIPLE_FAULT),
  spin: elfOf([...print('up\n'), ...SPIN]),
  /** Jumps back to `out`, for ever. */
  talk: elfOf([...print('x'), 0xeb, 0xfd]),
};

test.serial('the guest’s console is on standard output, and nothing else is anywhere', async (t) => {
  const cwd = directoryWith(t, kernels);
  t.like(await mvm(['run', '-k', 'hello'], { cwd }), { code: 0, stdout: GREETING, stderr: '' });
});

test.serial('a configuration comes from a file, or from standard input', async (t) => {
  const text =
    '{"boot-source": {"kernel_image_path": "hello"}, "machine-config": {"vcpu_count": 2, "mem_size_mib": 8}}';
  const cwd = directoryWith(t, { ...kernels, 'vm.json': text });
  t.like(await mvm(['run', 'vm.json'], { cwd }), { code: 0, stdout: GREETING, stderr: '' });
  t.like(await mvm(['run', join(cwd, 'vm.json')], { cwd: '/' }), { code: 0, stdout: GREETING, stderr: '' });
  t.like(await mvm(['run', '-'], { cwd, stdin: text }), { code: 0, stdout: GREETING, stderr: '' });
});

test.serial('the serial port leads into a file, or nowhere', async (t) => {
  const cwd = directoryWith(t, kernels);
  t.like(await mvm(['run', '-k', 'hello', '--serial', 'console.log'], { cwd }), { code: 0, stdout: '', stderr: '' });
  t.is(readFileSync(join(cwd, 'console.log'), 'utf8'), GREETING);
  t.like(await mvm(['run', '-k', 'hello', '--serial', 'none'], { cwd }), { code: 0, stdout: '', stderr: '' });
});

test.serial('mvm’s log goes to standard error, or into a file', async (t) => {
  const cwd = directoryWith(t, kernels);
  const run = async (...args: string[]) => await mvm(['run', '-k', 'hello', '--id', 'vm-7', ...args], { cwd });
  const logged = await run('--log-level', 'Debug', '--log-format', 'json');
  t.is(logged.stdout, GREETING);
  for (const line of logged.stderr.trimEnd().split('\n')) t.like(JSON.parse(line), { level: 'Debug', id: 'vm-7' });
  t.like(await run('--log-level', 'Debug', '--log-path', 'mvm.log'), { code: 0, stdout: GREETING, stderr: '' });
  t.regex(readFileSync(join(cwd, 'mvm.log'), 'utf8'), /^\S+Z \[vm-7\] /);
});

test.serial(
  'counters are written at the end, also of a guest that crashes; a file that cannot be made is refused',
  async (t) => {
    const cwd = directoryWith(t, kernels);
    t.like(await mvm(['run', '-k', 'hello', '--metrics-path', 'm'], { cwd }), {
      code: 0,
      stdout: GREETING,
      stderr: '',
    });
    t.is((await mvm(['run', '-k', 'crash', '--metrics-path', 'm'], { cwd })).code, GUEST_CRASHED);
    const reports = readFileSync(join(cwd, 'm'), 'utf8').trimEnd().split('\n');
    t.is(reports.length, 2);
    const [hello, crash] = reports.map((line) => JSON.parse(line) as Record<string, Record<string, number>>);
    t.is(hello!.uart!.write_count, GREETING.length);
    t.is(hello!.vcpu!.exit_io_out, GREETING.length + 1);
    t.is(hello!.i8042!.reset_count, 1);
    t.is(crash!.uart!.write_count, 0);
    const refused = await mvm(['run', '-k', 'hello', '--metrics-path', 'none/m'], { cwd });
    t.is(refused.code, BAD_CONFIG);
    t.regex(refused.stderr, /^mvm: \/.*\/none\/m: cannot open the file for metrics \(ENOENT\)\n$/);
  },
);

test.serial('a guest that crashes is one line, and its exit code', async (t) => {
  const line = /^mvm: the guest crashed with a triple fault at 0x100007$/;
  await fails(t, ['run', '-k', 'crash'], GUEST_CRASHED, [line], { files: kernels });
});

test.serial('an error while the guest runs is told as the configuration’s log is kept', async (t) => {
  const text = '{"boot-source": {"kernel_image_path": "crash"}, "logger": {"log_path": "mvm.log", "format": "json"}}';
  const cwd = directoryWith(t, { ...kernels, 'vm.json': text });
  const { code, stderr } = await mvm(['run', 'vm.json'], { cwd });
  t.is(code, GUEST_CRASHED);
  const message = 'the guest crashed with a triple fault at 0x100007';
  t.like(JSON.parse(stderr), { level: 'Error', message });
  t.like(JSON.parse(readFileSync(join(cwd, 'mvm.log'), 'utf8')), { level: 'Error', id: 'anonymous-instance', message });
});

for (const [signal, code] of [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test.serial(`${signal} stops the guest`, async (t) => {
    const { child, ended, output } = await start(t, ['run', '-k', 'spin']);
    child.kill(signal);
    t.deepEqual(await ended, { code, signal: null });
    t.deepEqual(output, { stdout: 'up\n', stderr: '' });
  });
}

test.serial('SIGUSR1 neither ends the guest nor lets a debugger in', async (t) => {
  const { child, ended, output } = await start(t, ['run', '-k', 'spin']);
  t.teardown(() => child.kill('SIGKILL'));
  child.kill('SIGUSR1');
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.is(child.exitCode, null);
  // Node's debugger would listen at a TCP port; our standard output and error are sockets of the test's.
  const folder = `/proc/${child.pid}/fd`;
  const sockets = readdirSync(folder).filter((fd) => readlinkSync(join(folder, fd)).startsWith('socket:'));
  t.deepEqual(sockets.toSorted(), ['1', '2']);
  child.kill('SIGTERM');
  t.deepEqual(await ended, { code: 143, signal: null });
  t.deepEqual(output, { stdout: 'up\n', stderr: '' });
});

test.serial('standard output that is closed early ends the guest: one line, and its exit code', async (t) => {
  const cwd = directoryWith(t, kernels);
  const fifo = join(cwd, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const stdout = openSync(fifo, constants.O_WRONLY);
  closeSync(reader);
  await fails(t, ['run', '-k', 'talk'], OUTPUT_FAILED, [/^mvm: standard output: /], { cwd, stdout });
  closeSync(stdout);
});

test.serial('without /dev/kvm, or without permission on it, mvm says what to do', async (t) => {
  await fails(t, ['run', '-k', 'hello'], HOST_UNABLE, [/^mvm: cannot open \/dev\/kvm \(ENOENT\); load the module/], {
    files: kernels,
    inNamespace: WITHOUT_KVM,
  });
  const cwd = directoryWith(t, kernels);
  execFileSync('chmod', ['-R', 'a+rX', cwd]);
  const outcome = await mvm(['run', '-k', 'hello'], { cwd, ...withoutPermission() });
  t.is(outcome.code, HOST_UNABLE);
  t.regex(outcome.stderr, /^mvm: cannot open \/dev\/kvm \(EACCES\); add yourself to the group .*\n$/);
  t.is(outcome.stdout, '');
});

test.serial('kernels and initrds that are missing, empty, cut off, something else, or too large', async (t) => {
  const files = {
    ...kernels,
    empty: '',
    text: 'Hello\n',
    cut: kernels.hello.subarray(0, 100),
    initrd: new Uint8Array(9 << 20).fill(1),
  };
  const refuses = async (args: readonly string[], line: RegExp) =>
    await fails(t, ['run', ...args], BAD_CONFIG, [line], { files });
  await refuses(['-k', 'none'], /^mvm: \/.*\/none: no such file; check the path$/);
  await refuses(['-k', '.'], /^mvm: \/.*: the kernel is not a regular file; name a file$/);
  await refuses(['-k', 'empty'], /^mvm: \/.*\/empty: the kernel is empty; /);
  await refuses(['-k', 'text'], /^mvm: \/.*\/text: this is no kernel/);
  await refuses(['-k', 'cut'], /^mvm: \/.*\/cut: .* cut off/);
  await refuses(['-k', 'hello', '-i', 'none'], /^mvm: \/.*\/none: no such file; check the path$/);
  await refuses(['-k', 'hello', '-i', 'empty'], /^mvm: \/.*\/empty: the initrd is empty; /);
  await refuses(['-k', 'hello', '-m', '8M', '-i', 'initrd'], /^mvm: \/.*\/initrd: the initrd \(9 MiB\) does not fit/);
  await refuses(
    ['-k', 'hello', '-c', 'x'.repeat(2048)],
    /^mvm: .*the kernel command line is too long: 2048 characters/,
  );
});

test.serial('a log or a console that cannot be written is one line', async (t) => {
  await fails(
    t,
    ['run', '-k', 'hello', '--log-path', 'no/where.log'],
    BAD_CONFIG,
    [/where\.log: cannot open the log/],
    {
      files: kernels,
    },
  );
  const { code, stderr, stdout } = await mvm(['run', '-k', 'hello', '--serial', 'no/where.log'], {
    cwd: directoryWith(t, kernels),
  });
  t.is(stdout, '');
  t.true(code === BAD_CONFIG || code === OUTPUT_FAILED, `${code}`);
  t.regex(stderr, /^mvm: .*no\/where\.log: .*\n$/);
});

/** Starts mvm and waits for the guest’s first line. */
async function start(t: ExecutionContext, args: readonly string[]) {
  const child = spawn(MVM[0]!, [...MVM.slice(1), ...args], {
    cwd: directoryWith(t, kernels),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal })),
  );
  child.stderr.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString();
  });
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      output.stdout += chunk.toString();
      if (output.stdout.includes('\n')) resolve();
    });
    child.on('close', () => resolve());
  });
  return { child, ended, output };
}
