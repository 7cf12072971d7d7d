import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { HostError } from '../../lib/errors.ts';
import { makeCgroup, missingParents, openProcesses } from '../../lib/jail/cgroup.ts';
import { ranOutOfMemory } from '../../lib/jail/cgroup-events.ts';
import type { PlannedCgroup } from '../../lib/jail/cgroup-plan.ts';
import { removeCgroup } from '../../lib/jail/remove.ts';

// What is written where, in an ordinary directory. What the kernel makes of it is shown end to end, as far as hosts have the controllers.

/** A directory that looks like a hierarchy; the kernel's files are made by hand. */
function hierarchy(t: { teardown: (action: () => void) => void }, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'mvm-cgroup-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, name, '..'), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

const planned = (mountPoint: string, more: Partial<PlannedCgroup> = {}): PlannedCgroup => ({
  version: 2,
  mountPoint,
  path: ['mvm', 'web'],
  controllers: ['memory'],
  settings: [{ file: 'memory.max', value: '1G' }],
  isOwn: true,
  ...more,
});

test('version 2: controllers are handed down to the parent, and limits are written', (t) => {
  const root = hierarchy(t, {
    'cgroup.subtree_control': 'cpu',
    'mvm/cgroup.subtree_control': '',
    'mvm/web/memory.max': 'max',
    'mvm/web/cpu.max': 'max',
    'mvm/web/cgroup.procs': '',
  });
  const settings = [
    { file: 'memory.max', value: '1G' },
    { file: 'cpu.max', value: '5 10' },
  ];
  const cgroup = planned(root, { controllers: ['memory', 'cpu'], settings });
  makeCgroup(cgroup);
  const read = (name: string) => readFileSync(join(root, name), 'utf8');
  t.is(read('cgroup.subtree_control'), '+memory');
  t.is(read('mvm/cgroup.subtree_control'), '+memory +cpu');
  t.is(read('mvm/web/memory.max'), '1G');
  t.is(read('mvm/web/cpu.max'), '5 10');
  t.true(openProcesses(cgroup) > 2);
});

test('version 1: a cpuset begins with what the one above has', (t) => {
  const root = hierarchy(t, {
    'cpuset.cpus': '0-1\n',
    'cpuset.mems': '0\n',
    'mvm/cpuset.cpus': '\n',
    'mvm/cpuset.mems': '\n',
    'mvm/web/cpuset.cpus': '\n',
    'mvm/web/cpuset.mems': '\n',
  });
  makeCgroup(planned(root, { version: 1, controllers: ['cpuset'], settings: [{ file: 'cpuset.cpus', value: '1' }] }));
  const read = (name: string) => readFileSync(join(root, name), 'utf8');
  t.is(read('mvm/cpuset.cpus'), '0-1\n');
  t.is(read('mvm/web/cpuset.mems'), '0\n');
  t.is(read('mvm/web/cpuset.cpus'), '1');
});

test('a file that the cgroup has not got, and a parent that is not there', (t) => {
  const root = hierarchy(t, { 'cgroup.subtree_control': 'memory', 'mvm/cgroup.subtree_control': 'memory' });
  const error = t.throws(() => makeCgroup(planned(root)), { instanceOf: HostError });
  t.is(error?.where, '--cgroup memory.max');
  const other = t.throws(() => makeCgroup(planned(root, { path: ['a', 'b'], isOwn: false })), {
    instanceOf: HostError,
  });
  t.is(other?.where, '--parent-cgroup a/b');
});

test('what is missing above is known before it is made; what is gone is removed without complaint', (t) => {
  const root = hierarchy(t, { 'a/cgroup.procs': '' });
  t.deepEqual(missingParents(planned(root, { path: ['a', 'b', 'c', 'web'] })), [
    join(root, 'a/b'),
    join(root, 'a/b/c'),
  ]);
  removeCgroup(join(root, 'nothing'));
  mkdirSync(join(root, 'empty'));
  removeCgroup(join(root, 'empty'));
  t.false(existsSync(join(root, 'empty')));
});

test('kills for lack of memory are seen in both versions', (t) => {
  const root = hierarchy(t, {
    'one/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n',
    'two/memory.events': 'low 0\noom 3\noom_kill 2\n',
    'none/memory.events': 'low 0\noom 0\noom_kill 0\n',
  });
  t.true(ranOutOfMemory([planned(root, { path: ['none'] }), planned(root, { path: ['one'] })]));
  t.true(ranOutOfMemory([planned(root, { path: ['two'] })]));
  t.false(ranOutOfMemory([planned(root, { path: ['none'] }), planned(root, { path: ['absent'] })]));
});
