import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { ExitCode } from '../../lib/errors.ts';
import { COOKED, Pty } from '../console/programs.ts';
import { type GuestOptions, MVM, type RunningGuest, runGuest, startGuest } from '../helpers/bare-metal.ts';

// What a running mvm can still do, seen from outside: no option asks for any of it.

const PROFILES = join(import.meta.dirname, '../../seccomp-profiles');
const NO_CAPABILITY = '0000000000000000';
const CAPABILITY_SETS = ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'];
/** An ordinary user: of a namespace in which there is nobody else. */
const USER = ['unshare', '--user', '--map-user=1000', '--map-group=1000'];
/** Root's number without root's capabilities. */
const WITHOUT_CAPABILITIES = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs'];

test.beforeEach((t) => {
  t.timeout(60_000);
});

async function startSpinning(t: ExecutionContext, options: GuestOptions = {}): Promise<RunningGuest & { pid: number }> {
  const guest = startGuest(t, 'spin', { cmdline: 'cpl=3', ...options });
  await guest.waitFor('spinning\n');
  return Object.assign(guest, { pid: guest.child.pid! });
}

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'mvm-confined-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Each thread's status (proc(5)), by field. */
function statuses(pid: number): Map<string, string>[] {
  return readdirSync(`/proc/${pid}/task`).map((id) => {
    const lines = readFileSync(`/proc/${pid}/task/${id}/status`, 'utf8').trimEnd().split('\n');
    return new Map(lines.map((line) => line.split(/:\s*/, 2) as [string, string]));
  });
}

/** Soft and hard limit. */
function limits(pid: number, name: string): string[] {
  const lines = readFileSync(`/proc/${pid}/limits`, 'utf8').split('\n');
  const [soft, hard] = lines
    .find((line) => line.startsWith(name))!
    .slice(name.length)
    .trim()
    .split(/\s+/);
  return [soft!, hard!];
}

test.serial('every thread is filtered, and has no privileges and no capabilities', async (t) => {
  const { pid } = await startSpinning(t);
  const threads = statuses(pid);
  const names = threads.map((status) => status.get('Name'));
  for (const name of ['mvm', 'vcpu 0']) t.true(names.includes(name), names.join());
  for (const status of threads) {
    const name = status.get('Name');
    t.is(status.get('Seccomp'), '2', name);
    t.is(status.get('NoNewPrivs'), '1', name);
    for (const set of [...CAPABILITY_SETS, 'CapBnd']) t.is(status.get(set), NO_CAPABILITY, `${name}: ${set}`);
  }
});

test.serial('several vCPUs: each has a filter of its own', async (t) => {
  const { code, stderr } = await runGuest(t, 'smp', { cpus: 3 });
  t.is(stderr, '');
  t.is(code, ExitCode.Ok);
});

test.serial('with --no-seccomp all the rest holds', async (t) => {
  const { pid } = await startSpinning(t, { args: ['--no-seccomp'] });
  for (const status of statuses(pid)) {
    t.is(status.get('Seccomp'), '0');
    t.is(status.get('NoNewPrivs'), '1');
    for (const set of [...CAPABILITY_SETS, 'CapBnd']) t.is(status.get(set), NO_CAPABILITY, set);
  }
});

test.serial('an ordinary user’s mvm is confined as well', async (t) => {
  const { pid } = await startSpinning(t, { launcher: USER });
  for (const status of statuses(pid)) {
    t.is(status.get('Seccomp'), '2');
    t.is(status.get('NoNewPrivs'), '1');
    for (const set of CAPABILITY_SETS) t.is(status.get(set), NO_CAPABILITY, set);
  }
});

test.serial('no process of the same user may look into it', async (t) => {
  const { pid } = await startSpinning(t);
  const [setpriv, ...options] = WITHOUT_CAPABILITIES;
  const other = spawn(setpriv!, [...options, 'sleep', '60']);
  t.teardown(() => other.kill());
  const exeOf = (id: number) =>
    execFileSync(setpriv!, [...options, 'readlink', `/proc/${id}/exe`], { encoding: 'utf8', stdio: 'pipe' });
  while (!readlinkSync(`/proc/${other.pid}/exe`).endsWith('sleep')) await setTimeout(10);
  t.regex(exeOf(other.pid!), /sleep\n$/);
  t.throws(() => exeOf(pid));
});

test.serial('core files, descriptors and address space are limited, and file size where asked for', async (t) => {
  const { pid } = await startSpinning(t);
  t.deepEqual(limits(pid, 'Max core file size'), ['0', '0']);
  t.deepEqual(limits(pid, 'Max open files'), ['2048', '2048']);
  t.true(Number(limits(pid, 'Max address space')[1]) > 0);
  t.deepEqual(limits(pid, 'Max file size'), ['unlimited', 'unlimited']);
  const args = ['--resource-limit', 'fsize=1048576', '--resource-limit', 'no-file=100'];
  const limited = await startSpinning(t, { args });
  t.deepEqual(limits(limited.pid, 'Max open files'), ['100', '100']);
  t.deepEqual(limits(limited.pid, 'Max file size'), ['1048576', '1048576']);
});

test.serial('a limit that cannot be is one line', async (t) => {
  const { code, stderr } = await runGuest(t, 'hello', { args: ['--resource-limit', 'no-file=many'] });
  t.is(code, ExitCode.Usage);
  t.is(stderr, 'mvm: --resource-limit: no-file must be a whole number, not "many"; give it as no-file=4096\n');
});

test.serial('what was left open is closed, and only what is needed stays', async (t) => {
  const fd = openSync(join(folder(t), 'secret'), 'w+');
  const passwords = openSync('/etc/passwd', 'r');
  t.teardown(() => [fd, passwords].forEach(closeSync));
  const { pid } = await startSpinning(t, { inherited: [fd, passwords] });
  const needed = /^(\/dev\/null|pipe:.*|socket:.*|anon_inode:\[?(eventpoll|eventfd|kvm-vm|kvm-vcpu:0)\]?)$/;
  for (const name of readdirSync(`/proc/${pid}/fd`)) t.regex(readlinkSync(`/proc/${pid}/fd/${name}`), needed);
});

test.serial('the environment is forgotten', async (t) => {
  const { pid } = await startSpinning(t, { env: { ...process.env, PASSWORD: 'correct horse' } });
  t.regex(readFileSync(`/proc/${pid}/environ`, 'latin1'), /^\0*$/);
});

test.serial('the terminal is as it was after a stopped call', async (t) => {
  for (const [kind, call] of [
    ['vcpu', 'ioctl'],
    ['main', 'epoll_wait'],
    ['runtime', 'futex'],
  ] as const) {
    const profiles = profilesWithout(t, kind, call);
    const machine = ['--kernel', buildGuest('hello'), '--cmdline', 'none', '--seccomp-filter', profiles];
    const { code, modes } = await new Pty(t, [MVM, 'run', ...machine]).exited;
    t.is(code, ExitCode.BadSyscall, kind);
    t.deepEqual(modes, COOKED, kind);
  }
});

/** A file with mvm's own profiles, but without a call that a kind of thread needs. */
function profilesWithout(t: ExecutionContext, thread: string, call: string): string {
  const profiles = Object.fromEntries(
    ['vcpu', 'main', 'runtime'].map((kind) => {
      const profile = JSON.parse(readFileSync(join(PROFILES, `${kind}.json`), 'utf8'));
      const filter = profile.filter.filter((rule: { syscall: string }) => kind !== thread || rule.syscall !== call);
      return [kind, { ...profile, filter }];
    }),
  );
  const file = join(folder(t), 'filters.json');
  writeFileSync(file, JSON.stringify(profiles));
  return file;
}

for (const [kind, name, call, number] of [
  ['vcpu', 'the thread of vCPU 0', 'ioctl', 16],
  ['main', 'the JavaScript thread', 'epoll_wait', 232],
  ['main', 'the JavaScript thread', 'write', 1],
  ['runtime', 'a thread of Node', 'futex', 202],
] as const) {
  test.serial(`${call} that the profile ${kind} does not have ends mvm`, async (t) => {
    const args = ['--seccomp-filter', profilesWithout(t, kind, call)];
    const { code, stderr } = await runGuest(t, 'hello', { args });
    const message = `a seccomp filter stopped ${name}: ${call} (${number}) is not in the profile ${kind}`;
    t.is(stderr, `mvm: ${message}\n`);
    t.is(code, ExitCode.BadSyscall);
    const json = await runGuest(t, 'hello', { args: [...args, '--log-format', 'json'] });
    t.like(JSON.parse(json.stderr), { level: 'Error', message });
  });
}
