import { closeSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { call, tryCall } from '../../lib/ffi/libc.ts';
import { CallList, PROCESS_ID } from '../../lib/jail/call-list.ts';
import { Keeper } from '../../lib/jail/launch.ts';
import { CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_VFORK, CLONE_VM, SIGCHLD, SYS } from '../../lib/jail/syscalls.ts';

// Lists of calls, made by a process of our machine code. It makes namespaces, so who runs this is root, or may make one of users.

const O_WRONLY_CREAT = 0o101;
const EBADF = 9;
const isRoot = process.getuid?.() === 0;

/** Makes the calls, and waits until the process has ended. */
function run(list: CallList): Keeper {
  const keeper = new Keeper(list, !isRoot);
  wait(keeper.pid);
  return keeper;
}

function wait(pid: number): void {
  call('syscall', 'wait for a process', SYS.wait4, pid, 0, 0, 0, 0, 0);
}

test('calls are made in order, texts and results are passed on', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mvm-calls-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'file');
  const list = new CallList();
  const fd = list.add('open', SYS.openat, -100, path, O_WRONLY_CREAT, 0o600);
  list.add('write', SYS.write, fd, 'hello', 5);
  const keeper = run(list);
  t.deepEqual(keeper.failures, []);
  t.is(readFileSync(path, 'utf8'), 'hello');
});

test('the first failure ends it, and is told with its purpose; others may fail', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mvm-calls-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const list = new CallList();
  list.try(SYS.close, 9999);
  list.add('close what is not open', SYS.close, 9998);
  list.add('never', SYS.openat, -100, join(folder, 'never'), O_WRONLY_CREAT, 0o600);
  const keeper = run(list);
  t.deepEqual(keeper.failures, [{ purpose: 'close what is not open', errno: EBADF }]);
  t.throws(() => readFileSync(join(folder, 'never')));
});

test('the end of a stream is a failure where a byte is waited for', (t) => {
  const list = new CallList();
  const fd = list.add('open', SYS.openat, -100, '/dev/null', 0, 0);
  list.waitFor('read', SYS.read, fd, new Uint8Array(1), 1);
  list.add('never', SYS.close, 9999);
  const keeper = run(list);
  t.deepEqual(keeper.failures, []);
  t.is(keeper.startedPid, 0);
});

test('a second process goes on with a list of its own, as a child of ours', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mvm-calls-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const child = new CallList();
  const fd = child.add('open', SYS.openat, -100, join(folder, 'child'), O_WRONLY_CREAT, 0o600);
  child.add('write', SYS.write, fd, 'child', 5);
  child.add('fail in the child', SYS.close, 9999);
  const list = new CallList();
  const flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD;
  list.fork('fork', SYS.clone, child, flags, 0, PROCESS_ID, 0, 0);
  const other = list.add('open', SYS.openat, -100, join(folder, 'parent'), O_WRONLY_CREAT, 0o600);
  list.add('write', SYS.write, other, 'parent', 6);
  const keeper = run(list);
  t.true(keeper.startedPid > 0);
  wait(keeper.startedPid);
  t.is(readFileSync(join(folder, 'child'), 'utf8'), 'child');
  t.is(readFileSync(join(folder, 'parent'), 'utf8'), 'parent');
  t.deepEqual(keeper.failures, [{ purpose: 'fail in the child', errno: EBADF }]);
});

test('descriptors of the process are its own', (t) => {
  const list = new CallList();
  list.add('close standard output', SYS.close, 1);
  run(list);
  t.notThrows(() => closeSync(tryCall('dup', 1)));
});
