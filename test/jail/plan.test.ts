import test from 'ava';
import { HostError } from '../../lib/errors.ts';
import { type JailOptions, parseJailOptions } from '../../lib/jail/options.ts';
import { planJail } from '../../lib/jail/plan.ts';

const settings = (options: JailOptions = {}) => parseJailOptions({ jail: true, ...options }, '/work').settings!;
const ALL = '         0          0 4294967295\n';
const maps = { uidMap: ALL, gidMap: ALL, setgroups: 'allow\n' };
const root = { uid: 0, gid: 0, runtimeDirectory: undefined, ...maps };
const joe = { uid: 1000, gid: 100, runtimeDirectory: '/run/user/1000', ...maps };

test('root’s virtual machines become nobody, or who is named', (t) => {
  t.deepEqual(planJail(settings(), root), {
    baseDirectory: '/srv/jailer',
    ownDirectories: ['/srv/jailer'],
    identity: { uid: 65534, gid: 65534 },
    isRootless: false,
    warnings: [],
  });
  t.deepEqual(planJail(settings({ uid: '5', gid: '6', 'chroot-base-dir': '/jails' }), root), {
    baseDirectory: '/jails',
    ownDirectories: [],
    identity: { uid: 5, gid: 6 },
    isRootless: false,
    warnings: [],
  });
});

test('root of a namespace becomes whom it has there, and otherwise stays', (t) => {
  const some = '         0       1000          1\n         1     100000      65536\n';
  const container = { ...root, uidMap: some, gidMap: some };
  t.deepEqual(planJail(settings(), container).identity, { uid: 65534, gid: 65534 });
  t.true(planJail(settings({ uid: '65537' }), container).isRootless);
  const alone = '         0       1000          1\n';
  const { identity, isRootless, baseDirectory, warnings } = planJail(settings({ gid: '7' }), {
    ...root,
    uidMap: alone,
    gidMap: alone,
    setgroups: 'deny\n',
  });
  t.deepEqual(identity, { uid: 0, gid: 0 });
  t.true(isRootless);
  t.is(baseDirectory, '/tmp/mvm-0/jailer');
  t.deepEqual(warnings, ["--gid 7: this namespace's root cannot become it; the virtual machine stays with 0"]);
});

test('an ordinary user’s stay with the user, where the user may write', (t) => {
  const plan = planJail(settings({ uid: '1000', gid: '100' }), joe);
  t.deepEqual(plan, {
    baseDirectory: '/run/user/1000/jailer',
    ownDirectories: ['/run/user/1000/jailer'],
    identity: { uid: 1000, gid: 100 },
    isRootless: true,
    warnings: [],
  });
  const elsewhere = planJail(settings(), { ...joe, runtimeDirectory: undefined });
  t.is(elsewhere.baseDirectory, '/tmp/mvm-1000/jailer');
  t.deepEqual(elsewhere.ownDirectories, ['/tmp/mvm-1000', '/tmp/mvm-1000/jailer']);
});

test('what an ordinary user cannot have is told, a line each', (t) => {
  t.deepEqual(planJail(settings({ uid: '5', gid: '6' }), joe).warnings, [
    '--uid 5: only root can become another; the virtual machine stays with 1000',
    '--gid 6: only root can become another; the virtual machine stays with 100',
  ]);
});

test('a network namespace is not left out silently', (t) => {
  const error = t.throws(() => planJail(settings({ netns: '/run/netns/blue' }), joe), { instanceOf: HostError });
  t.is(error?.where, '--netns');
});
