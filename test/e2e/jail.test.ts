import { execFileSync, spawnSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { ownCgroup } from '../../lib/jail/cgroup-choice.ts';
import { findHierarchies } from '../../lib/jail/cgroup-plan.ts';
import { MIB } from '../../lib/memory/layout.ts';
import {
  asUser,
  copyTo,
  folderFor,
  isRunning,
  Jailed,
  ownNamespaces,
  statusOf,
  threadsOf,
  USER,
} from '../helpers/jail.ts';
import { type MvmResult, runMvm } from '../helpers/mvm.ts';

// `mvm run --jail` looked at from outside. Root starts these tests.

const spin = buildGuest('spin');
const hello = buildGuest('hello');

function start(
  t: ExecutionContext,
  base: string,
  id: string,
  args: readonly string[],
  via?: readonly string[],
): Jailed {
  const jailed = new Jailed(base, id, args, via);
  t.teardown(async () => await jailed[Symbol.asyncDispose]());
  return jailed;
}

/** A guest that runs until it is stopped. */
async function startSpinning(
  t: ExecutionContext,
  base: string,
  id: string,
  args: readonly string[] = [],
  via?: readonly string[],
): Promise<Jailed> {
  const jailed = start(t, base, id, ['--kernel', spin, ...args], via);
  await jailed.waitFor(/spinning/);
  return jailed;
}

async function run(
  t: ExecutionContext,
  base: string,
  args: readonly string[],
  via?: readonly string[],
): Promise<MvmResult> {
  const jailed = start(t, base, 'one', args, via);
  jailed.process.stdin.end();
  return await jailed.end();
}

/** What holds in every jail. */
function checkConfined(t: ExecutionContext, pid: number, { uid, gid }: { uid: number; gid: number }): void {
  const four = (id: number) => Array(4).fill(id).join(' ');
  const threads = threadsOf(pid);
  t.true(threads.length > 1);
  for (const thread of threads) {
    t.is(statusOf(thread, 'Uid'), four(uid));
    t.is(statusOf(thread, 'Gid'), four(gid));
    t.is(statusOf(thread, 'Groups'), '');
    t.is(statusOf(thread, 'NoNewPrivs'), '1');
    t.is(statusOf(thread, 'Seccomp'), '2');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      t.is(BigInt(`0x${statusOf(thread, set)}`), 0n, set);
  }
  t.regex(statusOf(String(pid), 'NSpid'), /^\d+ 1$/);
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trimEnd().split('\n');
  t.is(mounts.length, 1, mounts.join('\n'));
  t.regex(mounts[0]!, / \/ ro,nosuid,nodev,noexec/);
  t.deepEqual(readdirSync(`/proc/${pid}/root/`), ['mvm.pid']);
  t.deepEqual(readdirSync(`/proc/${pid}/cwd/`), ['mvm.pid']);
  // No descriptor leads out: there is no open directory.
  for (const fd of readdirSync(`/proc/${pid}/fd`)) t.false(statSync(`/proc/${pid}/fd/${fd}`).isDirectory(), fd);
  t.is(execFileSync('nsenter', ['--target', String(pid), '--uts', 'uname', '-n'], { encoding: 'utf8' }), 'one\n');
}

test.serial('root: who it is, what it sees, and that nothing is left', async (t) => {
  const base = folderFor(t);
  const jailed = await startSpinning(t, base, 'one');
  const { pid } = jailed;
  checkConfined(t, pid, { uid: 65534, gid: 65534 });
  t.deepEqual(ownNamespaces(pid), ['cgroup', 'ipc', 'mnt', 'pid', 'uts']);
  t.false(existsSync(`/proc/${pid}/root/etc`));
  jailed.process.kill('SIGTERM');
  const { code, stderr } = await jailed.end();
  t.is(code, 143, stderr);
  t.is(stderr, '');
  t.false(isRunning(pid));
  t.deepEqual(readdirSync(base), []);
});

test.serial('a user, a group and the PID namespace can be chosen', async (t) => {
  const jailed = await startSpinning(t, folderFor(t), 'one', ['--uid', '1234', '--gid', '5678', '--no-new-pid-ns']);
  const { pid } = jailed;
  t.is(statusOf(String(pid), 'Uid'), '1234 1234 1234 1234');
  t.is(statusOf(String(pid), 'Gid'), '5678 5678 5678 5678');
  t.is(statusOf(String(pid), 'NSpid'), String(pid));
  t.deepEqual(ownNamespaces(pid), ['cgroup', 'ipc', 'mnt', 'uts']);
});

test.serial('limits of resources hold in the jail, and for its process alone', async (t) => {
  const jailed = await startSpinning(t, folderFor(t), 'one', ['--resource-limit', 'no-file=77']);
  const limits = (pid: number) => readFileSync(`/proc/${pid}/limits`, 'utf8');
  t.regex(limits(jailed.pid), /^Max open files +77 +77 /m);
  t.notRegex(limits(jailed.process.pid!), /^Max open files +77 /m);
});

test.serial('exit codes and messages are those of the mvm in the jail', async (t) => {
  const base = folderFor(t);
  const good = await run(t, base, ['--kernel', hello, '--cmdline', 'text']);
  t.is(good.stdout, 'hello from bare metal, booted by PVH, command line: text\n');
  t.is(good.stderr, '');
  t.is(good.code, 0);
  const crash = await run(t, base, ['--kernel', buildGuest('triple-fault'), '--cmdline', 'cpl=3']);
  t.regex(crash.stderr, /^mvm: [^\n]*triple fault at 0x[0-9a-f]+\n$/);
  t.is(crash.code, 5);
  const none = await run(t, base, ['--kernel', '/nowhere/vmlinux']);
  t.regex(none.stderr, /^mvm: \/nowhere\/vmlinux: [^\n]+\n$/);
  t.is(none.code, 3);
  t.deepEqual(readdirSync(base), []);
});

test.serial(
  'log, metrics and the serial port’s file are the host’s, and SIGUSR1 asks the outer half for metrics',
  async (t) => {
    const folder = folderFor(t);
    const [log, metrics, serial] = ['log', 'metrics', 'serial'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const outputs = ['--log-path', log, '--log-level', 'Debug', '--metrics-path', metrics, '--serial', serial];
    const jailed = start(t, join(folder, 'jailer'), 'one', ['--kernel', spin, ...outputs]);
    const until = async (isTrue: () => boolean) => {
      while (!isTrue()) await sleep(5);
    };
    const textOf = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8') : '');
    await until(() => textOf(serial) === 'spinning\n');
    t.is(textOf(metrics), '');
    jailed.process.kill('SIGUSR1');
    await until(() => textOf(metrics).endsWith('\n'));
    t.is(textOf(metrics).split('\n').length, 2);
    jailed.process.kill('SIGTERM');
    const { code, stdout } = await jailed.end();
    t.is(code, 143);
    t.is(stdout, '');
    t.is(textOf(metrics).split('\n').length, 3, 'once more at the end');
    t.regex(textOf(log), /\[one\] the guest ended: stopped/);
  },
);

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  test.serial(`${signal} ends it, sent to either half`, async (t) => {
    const base = folderFor(t);
    const outer = await startSpinning(t, base, 'outer');
    outer.process.kill(signal);
    t.is((await outer.end()).code, code);
    const inner = await startSpinning(t, base, 'inner');
    process.kill(inner.pid, signal);
    t.is((await inner.end()).code, code);
    t.deepEqual(readdirSync(base), []);
  });
}

test.serial('SIGKILL of the inner half is told, and cleaned up', async (t) => {
  const base = folderFor(t);
  const jailed = await startSpinning(t, base, 'one');
  process.kill(jailed.pid, 'SIGKILL');
  const { code, stderr } = await jailed.end();
  t.is(code, 137);
  t.is(stderr, 'mvm: error: the virtual machine was killed by SIGKILL\n');
  t.deepEqual(readdirSync(base), []);
});

test.serial('SIGKILL of the outer half ends the inner one; the next start of the id cleans up', async (t) => {
  const base = folderFor(t);
  const jailed = await startSpinning(t, base, 'one', ['--cgroup', limitOf('pids', '100')]);
  const { pid } = jailed;
  const cgroup = cgroupOf(pid, 'pids');
  jailed.process.kill('SIGKILL');
  await jailed.end();
  while (isRunning(pid)) await sleep(5);
  t.true(existsSync(jailed.root));
  t.true(existsSync(cgroup));
  const next = await run(t, base, ['--kernel', hello]);
  t.is(next.code, 0, next.stderr);
  t.deepEqual(readdirSync(base), []);
  t.false(existsSync(cgroup));
});

test.serial('two at a time, but not with the same id', async (t) => {
  const base = folderFor(t);
  const one = await startSpinning(t, base, 'one');
  const two = await startSpinning(t, base, 'two');
  t.not(one.pid, two.pid);
  const third = await run(t, base, ['--kernel', hello]);
  t.is(third.code, 4);
  t.regex(third.stderr, /^mvm: [^\n]*mvm\/one: a virtual machine with the id one runs already; [^\n]+\n$/);
  t.true(isRunning(one.pid));
  one.process.kill('SIGTERM');
  await one.end();
  t.true(isRunning(two.pid));
  t.deepEqual(readdirSync(join(base, 'mvm')), ['two']);
});

const HIERARCHIES = findHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'), (path) => readFileSync(path, 'utf8'));

/** Controllers of version 2 that were on; those that are switched on for limits stay on otherwise. */
const SWITCHES = HIERARCHIES.filter(({ version }) => version === 2).map(({ mountPoint }) => {
  const file = join(mountPoint, 'cgroup.subtree_control');
  return { file, before: readFileSync(file, 'utf8').trim().split(/\s+/) };
});
test.after.always(() => {
  for (const { file, before } of SWITCHES) {
    const added = readFileSync(file, 'utf8')
      .trim()
      .split(/\s+/)
      .filter((name) => name !== '' && !before.includes(name));
    if (added.length > 0) writeFileSync(file, added.map((name) => `-${name}`).join(' '));
  }
});

/** A limit for a controller, as the host's version of cgroups has it. */
function limitOf(controller: 'pids' | 'memory' | 'cpu', value: string): string {
  const isUnified = HIERARCHIES.some((one) => one.version === 2 && one.controllers.includes(controller));
  const file = {
    pids: 'pids.max',
    memory: isUnified ? 'memory.max' : 'memory.limit_in_bytes',
    cpu: isUnified ? 'cpu.max' : 'cpu.cfs_quota_us',
  }[controller];
  return `${file}=${value}`;
}

/** So much memory and no more: what is swapped out counts too. */
function memoryLimit(bytes: number): string[] {
  const limit = limitOf('memory', String(bytes));
  const hasSwap = readFileSync('/proc/swaps', 'utf8').trimEnd().split('\n').length > 1;
  const swap = limit.startsWith('memory.max') ? 'memory.swap.max=0' : `memory.memsw.limit_in_bytes=${bytes}`;
  return ['--cgroup', limit, ...(hasSwap ? ['--cgroup', swap] : [])];
}

/** The directory of the cgroup that a process is in. */
function cgroupOf(pid: number, controller: string): string {
  const hierarchy = HIERARCHIES.find(({ controllers }) => controllers.includes(controller));
  if (hierarchy === undefined) throw new Error(`this host has no controller ${controller}`);
  return join(hierarchy.mountPoint, ownCgroup(readFileSync(`/proc/${pid}/cgroup`, 'utf8'), hierarchy));
}

test.serial('a guest that takes more memory than its cgroup may have is held', async (t) => {
  const base = folderFor(t);
  const args = ['--kernel', buildGuest('memory'), '--cmdline', 'stride=0x1000', '--memory', '256M'];
  const held = await run(t, base, [...args, ...memoryLimit(128 * MIB)]);
  t.is(held.code, 137, held.stdout);
  t.is(
    held.stderr,
    'mvm: error: the virtual machine was killed by SIGKILL: it reached the memory limit of its cgroup\n',
  );
  const other = await run(t, base, [...args, ...memoryLimit(1024 * MIB)]);
  t.is(other.code, 0, other.stderr);
  t.deepEqual(readdirSync(base), []);
});

test.serial('a CPU quota is kept, by all threads', async (t) => {
  const base = folderFor(t);
  const jailed = await startSpinning(t, base, 'one', [
    '--cgroup',
    limitOf('cpu', '20000'),
    '--parent-cgroup',
    'mvm-test/cpu',
  ]);
  const cgroup = cgroupOf(jailed.pid, 'cpu');
  t.true(cgroup.endsWith('/mvm-test/cpu/one'));
  t.deepEqual(readFileSync(join(cgroup, 'cgroup.procs'), 'utf8'), `${jailed.pid}\n`);
  const throttled = () => Number(/^nr_throttled (\d+)$/m.exec(readFileSync(join(cgroup, 'cpu.stat'), 'utf8'))?.[1]);
  // A spinning vCPU uses up the quota in every period.
  while (throttled() < 5) await sleep(20);
  jailed.process.kill('SIGTERM');
  t.is((await jailed.end()).code, 143);
  t.false(existsSync(join(cgroup, '../..')));
});

test.serial('limits of cgroup v2 are in force for the process, and gone with it', async (t) => {
  const unified = HIERARCHIES.find(({ version }) => version === 2);
  if (unified === undefined) throw new Error('this host has no cgroup v2');
  const args = ['--cgroup-version', '2', '--cgroup', 'cgroup.max.depth=3'];
  // Which controllers it has depends on the host: one whose limit is a number is enough.
  const controller = ['pids', 'hugetlb'].find((name) => unified.controllers.includes(name));
  const file = controller === 'pids' ? 'pids.max' : 'hugetlb.2MB.max';
  if (controller !== undefined) args.push('--cgroup', `${file}=${8 * MIB}`);
  const jailed = await startSpinning(t, folderFor(t), 'one', args);
  const cgroup = join(unified.mountPoint, 'mvm/one');
  t.is(readFileSync(join(cgroup, 'cgroup.procs'), 'utf8'), `${jailed.pid}\n`);
  t.is(readFileSync(join(cgroup, 'cgroup.max.depth'), 'utf8'), '3\n');
  if (controller !== undefined) t.is(readFileSync(join(cgroup, file), 'utf8'), `${8 * MIB}\n`);
  jailed.process.kill('SIGTERM');
  t.is((await jailed.end()).code, 143);
  t.false(existsSync(cgroup));
});

test.serial('a wrong limit is one line, and nothing is left', async (t) => {
  const base = folderFor(t);
  const wrong = await run(t, base, ['--kernel', hello, '--cgroup', limitOf('memory', 'much')]);
  t.is(wrong.code, 4);
  t.regex(wrong.stderr, /^mvm: --cgroup memory\.\w+: the kernel does not take "much" \(EINVAL\)\n$/);
  t.deepEqual(readdirSync(base), []);
});

test.serial('a network namespace', async (t) => {
  const folder = folderFor(t);
  const script = `
    mount -t tmpfs none "$1"
    touch "$1/ns"
    unshare --net="$1/ns" true
    stat -Lc %i "$1/ns" >&2
    shift
    exec "$@"`;
  const via = ['unshare', '--mount', 'sh', '-ec', script, 'sh', folder];
  // The folder is another one for mvm: its jail is somewhere else.
  const jailed = await startSpinning(t, folderFor(t), 'one', ['--netns', join(folder, 'ns')], via);
  const { pid } = jailed;
  t.deepEqual(ownNamespaces(pid), ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'uts']);
  const { ino } = statSync(`/proc/${pid}/ns/net`);
  jailed.process.kill('SIGTERM');
  const { code, stderr } = await jailed.end();
  t.is(code, 143);
  t.is(stderr, `${ino}\n`);
});

test.serial('daemonize: in the background once the guest runs, errors before', async (t) => {
  const base = folderFor(t);
  const common = ['run', '--jail', '--id', 'one', '--chroot-base-dir', base, '--daemonize'];
  const wrong = await runMvm([...common, '--kernel', '/nowhere/vmlinux']);
  t.is(wrong.code, 3);
  t.regex(wrong.stderr, /^mvm: \/nowhere\/vmlinux: [^\n]+\n$/);
  const started = await runMvm([...common, '--kernel', spin]);
  t.is(started.code, 0, started.stderr);
  const pid = Number(readFileSync(join(base, 'mvm/one/root/mvm.pid'), 'utf8'));
  t.teardown(() => isRunning(pid) && process.kill(pid, 'SIGKILL'));
  const { rdev } = fstatSync(openSync('/dev/null', 'r'));
  for (const fd of [0, 1, 2]) t.is(statSync(`/proc/${pid}/fd/${fd}`).rdev, rdev);
  const session = (id: number) => Number(readFileSync(`/proc/${id}/stat`, 'utf8').split(') ')[1]!.split(' ')[3]);
  t.not(session(pid), session(process.pid));
  checkConfined(t, pid, { uid: 65534, gid: 65534 });
  process.kill(pid, 'SIGTERM');
  while (existsSync(join(base, 'mvm'))) await sleep(5);
  t.deepEqual(readdirSync(base), []);
});

test.serial('an ordinary user has the same jail, by a namespace of users', async (t) => {
  const folder = folderFor(t, USER);
  const base = join(folder, 'jailer');
  const [kernel] = copyTo(folder, spin) as [string];
  const jailed = await startSpinning(t, base, 'one', ['--kernel', kernel], asUser(folder));
  const { pid } = jailed;
  checkConfined(t, pid, USER);
  t.deepEqual(ownNamespaces(pid), ['cgroup', 'ipc', 'mnt', 'pid', 'user', 'uts']);
  t.is(readFileSync(`/proc/${pid}/uid_map`, 'utf8').trim().replace(/\s+/g, ' '), `${USER.uid} ${USER.uid} 1`);
  t.is(readFileSync(`/proc/${pid}/gid_map`, 'utf8').trim().replace(/\s+/g, ' '), `${USER.gid} ${USER.gid} 1`);
  t.is(readFileSync(`/proc/${pid}/setgroups`, 'utf8'), 'deny\n');
  jailed.process.kill('SIGTERM');
  const { code, stderr } = await jailed.end();
  t.is(code, 143, stderr);
  t.is(stderr, '');
  t.false(existsSync(base));
});

test.serial('root of a namespace of users alone has an ordinary user’s jail', async (t) => {
  const base = folderFor(t);
  const jailed = await startSpinning(t, base, 'one', [], ['unshare', '--user', '--map-root-user']);
  checkConfined(t, jailed.pid, { uid: 0, gid: 0 });
  t.deepEqual(ownNamespaces(jailed.pid), ['cgroup', 'ipc', 'mnt', 'pid', 'user', 'uts']);
  jailed.process.kill('SIGTERM');
  const { code, stderr } = await jailed.end();
  t.is(code, 143);
  t.is(stderr, '');
});

test.serial('root without CAP_SYS_ADMIN is told what it takes', async (t) => {
  const base = folderFor(t);
  const without = ['setpriv', '--inh-caps=-sys_admin', '--bounding-set=-sys_admin'];
  const { code, stderr } = await run(t, base, ['--kernel', hello], without);
  t.is(code, 4);
  t.regex(
    stderr,
    /^mvm: cannot make the namespaces of the jail: clone failed with EPERM; root needs CAP_SYS_ADMIN [^\n]+\n$/,
  );
  t.deepEqual(readdirSync(base), []);
});

test.serial('in a container that hides parts of /proc, an ordinary user has all but the PID namespace', async (t) => {
  const folder = folderFor(t, USER);
  const base = join(folder, 'jailer');
  const [kernel] = copyTo(folder, spin) as [string];
  const hide = ['unshare', '--mount', 'sh', '-ec', 'mount --bind /dev/null /proc/timer_list; exec "$@"', 'sh'];
  const jailed = await startSpinning(t, base, 'one', ['--kernel', kernel], [...hide, ...asUser(folder)]);
  t.deepEqual(ownNamespaces(jailed.pid), ['cgroup', 'ipc', 'mnt', 'user', 'uts']);
  t.is(statusOf(String(jailed.pid), 'Seccomp'), '2');
  jailed.process.kill('SIGTERM');
  const { code, stderr } = await jailed.end();
  t.is(code, 143);
  t.regex(stderr, /^mvm: warning: without a PID namespace: cannot show [^\n]+\n$/);
  t.false(existsSync(base));
});

test.serial('an ordinary user has limits in a cgroup of its own, and leaves it as it was', async (t) => {
  const unified = HIERARCHIES.find(({ version }) => version === 2);
  const controller = ['pids', 'hugetlb'].find((name) => unified?.controllers.includes(name));
  if (unified === undefined || controller === undefined)
    throw new Error('this host has no cgroup v2 with a controller');
  const delegated = join(unified.mountPoint, `mvm-delegated-${process.pid}`);
  writeFileSync(join(unified.mountPoint, 'cgroup.subtree_control'), `+${controller}`);
  mkdirSync(delegated);
  t.teardown(() => rmdirSync(delegated));
  for (const name of ['', 'cgroup.procs', 'cgroup.subtree_control'])
    chownSync(join(delegated, name), USER.uid, USER.gid);
  const folder = folderFor(t, USER);
  const [kernel] = copyTo(folder, spin) as [string];
  const file = controller === 'pids' ? 'pids.max' : 'hugetlb.2MB.max';
  // passt, which mvm starts, is in the way of limits too.
  const args = ['--kernel', kernel, '--cgroup', `${file}=${8 * MIB}`, '--net', 'user'];
  const enter = ['sh', '-ec', 'echo 0 > "$1/cgroup.procs"; shift; exec "$@"', 'sh', delegated];
  const jailed = await startSpinning(t, join(folder, 'jailer'), 'one', args, [...enter, ...asUser(folder)]);
  const cgroup = join(delegated, 'one');
  t.is(readFileSync(join(cgroup, 'cgroup.procs'), 'utf8'), `${jailed.pid}\n`);
  t.is(readFileSync(join(cgroup, file), 'utf8'), `${8 * MIB}\n`);
  jailed.process.kill('SIGTERM');
  const { code, stderr } = await jailed.end();
  t.is(stderr, '');
  t.is(code, 143);
  t.deepEqual(
    readdirSync(delegated, { withFileTypes: true }).filter((entry) => entry.isDirectory()),
    [],
  );
  t.is(readFileSync(join(delegated, 'cgroup.subtree_control'), 'utf8').trim(), '');
});

test.serial('what an ordinary user cannot have is a line each', async (t) => {
  const folder = folderFor(t, USER);
  const args = ['--uid', '5', '--gid', '6', '--cgroup', limitOf('memory', '1000000000')];
  const [kernel] = copyTo(folder, hello) as [string];
  const limited = await run(t, join(folder, 'jailer'), ['--kernel', kernel, ...args], asUser(folder));
  t.is(limited.code, 0);
  const lines = limited.stderr.split('\n');
  t.is(lines.length, 4, limited.stderr);
  t.regex(lines[0]!, /^mvm: warning: --uid 5: only root can/);
  t.regex(lines[1]!, /^mvm: warning: --gid 6: only root can/);
  t.regex(
    lines[2]!,
    /^mvm: warning: without limits: --cgroup: cannot make the cgroup .*\(EACCES\); start mvm as root, or/,
  );
  const netns = await run(
    t,
    join(folder, 'jailer'),
    ['--kernel', hello, '--netns', '/proc/self/ns/net'],
    asUser(folder),
  );
  t.is(netns.code, 4);
  t.regex(netns.stderr, /^mvm: --netns: only root can enter a network namespace; [^\n]+\n$/);
});

test.serial('from its sources mvm goes into no jail, and says why', (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['bin/mvm.ts', 'run', '--jail', '--kernel', hello], {
    encoding: 'utf8',
  });
  t.is(status, 4);
  t.regex(stderr, /^mvm: --jail: mvm goes into a jail as one file only: [^\n]+; npm run build, and use dist\/mvm\n$/);
});
