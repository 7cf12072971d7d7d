import test from 'ava';
import type { CallList } from '../../lib/jail/call-list.ts';
import type { RootPlan } from '../../lib/jail/root-plan.ts';
import { type JailSteps, keeperSteps } from '../../lib/jail/steps.ts';
import {
  AT_EMPTY_PATH,
  CLONE_NEWNET,
  CLONE_NEWPID,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  O_CLOEXEC,
  PR_CAPBSET_DROP,
  SYS,
} from '../../lib/jail/syscalls.ts';

// What is asked of the kernel, and in which order. What it makes of it is seen end to end.

const plan: RootPlan = {
  files: [
    { path: '/dev/kvm', kind: 'device', readOnly: false },
    { path: '/vm/vmlinux', kind: 'file', readOnly: true },
    { path: '/vm/disk.img', kind: 'file', readOnly: false },
  ],
  directories: ['/dev', '/proc', '/run', '/run/vm', '/vm'],
  socketDirectory: undefined,
  socketPath: undefined,
};

const steps: JailSteps = {
  id: 'web',
  root: '/jails/mvm/web/root',
  plan,
  userNamespace: undefined,
  owner: { uid: 5, gid: 6 },
  newPidNamespace: true,
  capabilities: 0x1ff_feff_ffffn,
  argv: ['mvm', 'go'],
  fds: {
    program: 200,
    keeper: 201,
    keeperPeer: 202,
    channel: 203,
    handover: 204,
    netns: undefined,
    cgroups: [],
    passed: [205, 206],
  },
};

const names = new Map(Object.entries(SYS).map(([name, number]) => [number as number, name]));

/** Each call as its name and its numbers and texts. */
function callsOf(list: CallList): (readonly unknown[])[] {
  return list.entries.map(({ number, args }) => [
    names.get(number),
    ...args.map((one) => (one instanceof Uint8Array ? one[0] : one)),
  ]);
}

const childOf = (list: CallList): CallList => list.entries.find(({ child }) => child !== undefined)!.child!;
const attributesOf = (list: CallList, path: string) =>
  callsOf(list).find(([name, , target]) => name === 'mount_setattr' && target === path)?.[4];

test('root: the keeper’s calls, in their order', (t) => {
  t.deepEqual(
    callsOf(keeperSteps(steps)).map(([name]) => name),
    [
      ...['prctl', 'sethostname', 'mount', 'mount', 'mount_setattr'],
      ...plan.files.flatMap(() => ['mount', 'mount_setattr']),
      ...['chdir', 'clone', 'close', 'read'],
      ...['pivot_root', 'umount2', 'chdir', 'write', 'read'],
      ...plan.files.flatMap(() => ['umount2', 'unlinkat']),
      'umount2',
      ...plan.directories.map(() => 'unlinkat'),
      ...['mount_setattr', 'write'],
    ],
  );
});

test('files are as they have to be: read-only, no programs, and devices only where they are meant', (t) => {
  const list = keeperSteps(steps);
  const always = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  t.is(attributesOf(list, steps.root), always | MOUNT_ATTR_NODEV);
  t.is(attributesOf(list, `${steps.root}/dev/kvm`), always);
  t.is(attributesOf(list, `${steps.root}/vm/vmlinux`), always | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY);
  t.is(attributesOf(list, `${steps.root}/vm/disk.img`), always | MOUNT_ATTR_NODEV);
  t.is(attributesOf(list, '/'), MOUNT_ATTR_RDONLY);
});

test('with a socket its directory stays, writable, and the socket is the user’s', (t) => {
  const list = keeperSteps({ ...steps, plan: { ...plan, socketDirectory: '/run/vm', socketPath: '/run/vm/v.sock' } });
  const removed = callsOf(list).flatMap(([name, , path, flags]) => (name === 'unlinkat' && flags !== 0 ? [path] : []));
  t.deepEqual(removed, ['/vm', '/proc', '/dev']);
  t.is(attributesOf(list, '/'), undefined);
  t.deepEqual(
    callsOf(list)
      .find(([name]) => name === 'fchownat')
      ?.slice(2),
    ['/run/vm/v.sock', 5, 6, 0],
  );
});

test('cgroups and the network namespace are joined before anything is mounted', (t) => {
  const list = keeperSteps({ ...steps, fds: { ...steps.fds, cgroups: [210, 211], netns: 212 } });
  t.deepEqual(callsOf(list).slice(1, 4), [
    ['write', 210, '0', 1],
    ['write', 211, '0', 1],
    ['setns', 212, CLONE_NEWNET],
  ]);
});

test('an ordinary user is alone in its namespace, under its own number', (t) => {
  const list = keeperSteps({ ...steps, userNamespace: { uid: 1000, gid: 100 }, owner: undefined });
  t.deepEqual(
    callsOf(list).flatMap(([name, , text]) => (name === 'write' && typeof text === 'string' ? [text] : [])),
    ['deny', '1000 1000 1', '100 100 1'],
  );
});

test('the new process gets its descriptors and no other, no environment, and no capability to gain', (t) => {
  const calls = callsOf(childOf(keeperSteps(steps)));
  t.deepEqual(calls.slice(-8), [
    ['dup3', 203, 3, 0],
    ['dup3', 202, 4, 0],
    ['dup3', 204, 5, 0],
    ['dup3', 205, 6, 0],
    ['dup3', 206, 7, 0],
    ['dup3', 200, 8, O_CLOEXEC],
    ['close_range', 9, 0xffff_ffff, 0],
    ['execveat', 8, '', ['mvm', 'go'], [], AT_EMPTY_PATH],
  ]);
  t.is(calls.filter(([name, option]) => name === 'prctl' && option === PR_CAPBSET_DROP).length, 41);
});

test('without a PID namespace the host’s processes are seen until the guest runs', (t) => {
  const list = keeperSteps({ ...steps, newPidNamespace: false });
  const flags = (one: CallList) => Number(callsOf(one).find(([name]) => name === 'clone')?.[1]);
  t.is(flags(list) & CLONE_NEWPID, 0);
  t.is(flags(keeperSteps(steps)) & CLONE_NEWPID, CLONE_NEWPID);
  t.deepEqual(callsOf(childOf(list))[0]?.slice(0, 3), ['mount', '/proc', `${steps.root}/proc`]);
  t.deepEqual(callsOf(childOf(keeperSteps(steps)))[0]?.slice(0, 4), ['mount', 'proc', `${steps.root}/proc`, 'proc']);
});
