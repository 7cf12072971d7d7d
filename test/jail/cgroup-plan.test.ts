import test from 'ava';
import { HostError } from '../../lib/errors.ts';
import { ownCgroup } from '../../lib/jail/cgroup-choice.ts';
import { findHierarchies, type Hierarchy, planCgroups } from '../../lib/jail/cgroup-plan.ts';

const MIXED = `22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /cg\\040roups/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
`;

const hierarchies = findHierarchies(MIXED, (path) =>
  path === '/sys/fs/cgroup/unified/cgroup.controllers' ? 'hugetlb io\n' : undefined,
);
const unified: Hierarchy = { version: 2, mountPoint: '/cgroup', controllers: ['cpu', 'memory', 'pids'] };

function limits(...texts: string[]) {
  return texts.map((text) => {
    const [file, value] = text.split('=') as [string, string];
    return { file, value };
  });
}
const choice = (cgroups: ReturnType<typeof limits>, more = {}) => ({
  cgroups,
  cgroupVersion: undefined,
  parentCgroup: undefined,
  ...more,
});

test('hierarchies are found wherever they are mounted', (t) => {
  t.deepEqual(hierarchies, [
    { version: 1, mountPoint: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'] },
    { version: 1, mountPoint: '/cg roups/memory', controllers: ['memory'] },
    { version: 1, mountPoint: '/sys/fs/cgroup/systemd', controllers: ['xattr'] },
    { version: 2, mountPoint: '/sys/fs/cgroup/unified', controllers: ['hugetlb', 'io'] },
  ]);
});

test('version 1: a cgroup in each hierarchy that has one of the controllers', (t) => {
  const settings = limits('cpu.cfs_quota_us=50000', 'memory.limit_in_bytes=1G', 'cpuacct.usage=0');
  t.deepEqual(planCgroups(choice(settings), 'web', hierarchies), [
    {
      version: 1,
      mountPoint: '/sys/fs/cgroup/cpu,cpuacct',
      path: ['mvm', 'web'],
      controllers: ['cpu', 'cpuacct'],
      settings: [settings[0]!, settings[2]!],
      isOwn: true,
    },
    {
      version: 1,
      mountPoint: '/cg roups/memory',
      path: ['mvm', 'web'],
      controllers: ['memory'],
      settings: [settings[1]!],
      isOwn: true,
    },
  ]);
});

test('version 2 is preferred where it has all controllers, and one cgroup does', (t) => {
  const settings = limits('cpu.max=50000 100000', 'memory.max=1G', 'cgroup.max.depth=1');
  t.deepEqual(planCgroups(choice(settings, { parentCgroup: 'machines/big' }), 'web', [unified]), [
    {
      version: 2,
      mountPoint: '/cgroup',
      path: ['machines', 'big', 'web'],
      controllers: ['cpu', 'memory'],
      settings,
      isOwn: true,
    },
  ]);
});

test('a controller that is not there is named, and where it is', (t) => {
  const attempt = (file: string, more = {}) =>
    t.throws(() => planCgroups(choice(limits(`${file}=1`), more), 'web', hierarchies), { instanceOf: HostError })!;
  const absent = attempt('rdma.max');
  t.is(absent.where, '--cgroup rdma.max');
  t.is(absent.message, 'this host has no cgroup v1 with the controller rdma');
  t.regex(attempt('memory.max', { cgroupVersion: 2 }).hint!, /^version 1 has it: give --cgroup-version 1/);
  t.regex(attempt('hugetlb.2MB.max', { cgroupVersion: 1 }).hint!, /^version 2 has it: give --cgroup-version 2/);
});

test('no limit, no cgroup; a parent alone is joined itself, in version 2', (t) => {
  t.deepEqual(planCgroups(choice([]), 'web', hierarchies), []);
  t.deepEqual(planCgroups(choice([], { parentCgroup: 'a/b', cgroupVersion: 1 }), 'web', hierarchies), []);
  t.deepEqual(planCgroups(choice([], { parentCgroup: 'a/b' }), 'web', hierarchies), [
    {
      version: 2,
      mountPoint: '/sys/fs/cgroup/unified',
      path: ['a', 'b'],
      controllers: [],
      settings: [],
      isOwn: false,
    },
  ]);
});

test('our own cgroup is found by version and controllers', (t) => {
  const text = '4:memory:/slice/a\n3:cpu,cpuacct:/b\n1:name=systemd:/c\n0::/user.slice/d\n';
  t.is(ownCgroup(text, unified), 'user.slice/d');
  t.is(ownCgroup(text, { version: 1, mountPoint: '', controllers: ['cpuacct'] }), 'b');
  t.is(ownCgroup(text, { version: 1, mountPoint: '', controllers: ['pids'] }), '');
});
