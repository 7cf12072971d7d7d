import test from 'ava';
import { type JailOptions, parseJailOptions } from '../../lib/jail/options.ts';

const parse = (options: JailOptions) => parseJailOptions(options, '/work');
const lines = (options: JailOptions) =>
  parse(options).problems.map(({ where, message, hint }) => `${where}: ${message}; ${hint}`);

test('without --jail there is no jail, and no option for one', (t) => {
  t.deepEqual(parse({}), { settings: undefined, problems: [] });
  t.deepEqual(lines({ uid: '7', cgroup: ['memory.max=1'], 'new-pid-ns': false }), [
    '--uid: has no use without a jail; add --jail',
    '--cgroup: has no use without a jail; add --jail',
    '--new-pid-ns: has no use without a jail; add --jail',
  ]);
});

test('with --jail alone everything is left to mvm', (t) => {
  t.deepEqual(parse({ jail: true }), {
    settings: {
      uid: undefined,
      gid: undefined,
      baseDirectory: undefined,
      cgroups: [],
      cgroupVersion: undefined,
      parentCgroup: undefined,
      netns: undefined,
      daemonize: false,
      newPidNamespace: true,
    },
    problems: [],
  });
});

test('what is given is read; paths begin in the working directory', (t) => {
  const { settings, problems } = parse({
    jail: true,
    uid: '1234',
    gid: '0',
    'chroot-base-dir': 'jails',
    cgroup: ['cpuset.mems=0', 'memory.max=1G', 'io.max=8:16 rbps=2097152'],
    'cgroup-version': '2',
    'parent-cgroup': 'machines//web/',
    netns: '/run/netns/blue',
    daemonize: true,
    'new-pid-ns': false,
  });
  t.deepEqual(problems, []);
  t.deepEqual(settings, {
    uid: 1234,
    gid: 0,
    baseDirectory: '/work/jails',
    cgroups: [
      { file: 'cpuset.mems', value: '0' },
      { file: 'memory.max', value: '1G' },
      { file: 'io.max', value: '8:16 rbps=2097152' },
    ],
    cgroupVersion: 2,
    parentCgroup: 'machines/web',
    netns: '/run/netns/blue',
    daemonize: true,
    newPidNamespace: false,
  });
});

for (const [options, line] of [
  [{ uid: '0' }, '--uid: must not be 0, which is root; give the number of an ordinary user'],
  [{ uid: 'joe' }, '--uid: must be a number from 0 to 4294967294, not "joe"; see id(1) for the number'],
  [{ gid: '-1' }, '--gid: must be a number from 0 to 4294967294, not "-1"; see id(1) for the number'],
  [{ gid: '4294967295' }, '--gid: must be a number from 0 to 4294967294, not "4294967295"; see id(1) for the number'],
  [{ 'chroot-base-dir': '' }, '--chroot-base-dir: is empty; give a path'],
  [{ netns: '' }, '--netns: is empty; give a path'],
  [{ cgroup: ['memory.max'] }, '--cgroup: "memory.max" is not FILE=VALUE; give it as memory.max=536870912'],
  [{ cgroup: ['memory.max='] }, '--cgroup: "memory.max=" is not FILE=VALUE; give it as memory.max=536870912'],
  [
    { cgroup: ['../../memory.max=1'] },
    '--cgroup: "../../memory.max" is no file of a cgroup; name one as memory.max or cpu.cfs_quota_us',
  ],
  [{ cgroup: ['tasks=1'] }, '--cgroup: "tasks" is no file of a cgroup; name one as memory.max or cpu.cfs_quota_us'],
  [{ cgroup: ['cgroup.procs=1'] }, '--cgroup: cgroup.procs is written by mvm itself; leave it out'],
  [{ 'cgroup-version': '3' }, '--cgroup-version: must be 1 or 2, not "3"; undefined'],
  [
    { 'parent-cgroup': '/web' },
    '--parent-cgroup: must be relative to the root of the cgroups, not /web; give it as web',
  ],
  [
    { 'parent-cgroup': 'a/../..' },
    '--parent-cgroup: "a/../.." names no cgroup; give a path without «..», as machines/web',
  ],
  [{ 'parent-cgroup': '.' }, '--parent-cgroup: "." names no cgroup; give a path without «..», as machines/web'],
] as const) {
  test(`refused: ${JSON.stringify(options)}`, (t) => {
    t.deepEqual(lines({ jail: true, ...options }), [line]);
  });
}

test('all mistakes are told at once', (t) => {
  t.is(lines({ jail: true, uid: 'x', gid: 'y', cgroup: ['a', 'b'] }).length, 4);
});
