import test from 'ava';
import type { Finding } from '../../lib/host/finding.ts';
import { withoutCalls } from '../helpers/seccomp/launcher.ts';
import { mvm, type Outcome } from './mvm.ts';
import { WITHOUT_KVM, withoutPermission } from './without-kvm.ts';

interface Report {
  readonly mvm: string;
  readonly canRun: boolean;
  readonly findings: readonly Finding[];
}

const report = ({ stdout }: Outcome) => JSON.parse(stdout) as Report;

test.serial('doctor says for each thing what it means, and ends with 0 where virtual machines can run', async (t) => {
  const outcome = await mvm(['doctor']);
  t.is(outcome.code, 0, outcome.stdout);
  t.is(outcome.stderr, '');
  const { canRun, findings } = report(await mvm(['doctor', '--json']));
  t.true(canRun);
  t.deepEqual([...new Set(findings.map(({ group }) => group))], ['KVM', 'Memory', 'Devices', 'Confinement']);
  const names = findings.map(({ name }) => name);
  for (const name of [
    'kind',
    '/dev/kvm',
    'capabilities',
    'transparent huge pages',
    '2 MiB page pool',
    '/dev/net/tun',
  ]) {
    t.true(names.includes(name), name);
  }
  for (const name of ['passt', 'io_uring', 'vsock', 'cgroups', 'jail', 'user namespaces', 'Landlock', 'seccomp']) {
    t.true(names.includes(name), name);
  }
  for (const { name, value, meaning } of findings) {
    t.true(outcome.stdout.includes(`${name}: `), name);
    t.not(value, '');
    t.regex(meaning, /\.$/, name);
  }
  t.regex(outcome.stdout, /\nVirtual machines can run here\.\n$/);
});

test.serial('doctor without /dev/kvm ends with 4, and says so', async (t) => {
  const outcome = await mvm(['doctor', '--json'], { inNamespace: WITHOUT_KVM });
  t.is(outcome.code, 4, outcome.stderr);
  t.false(report(outcome).canRun);
  const device = report(outcome).findings.find(({ name }) => name === '/dev/kvm');
  t.like(device, { state: 'bad', value: 'cannot open /dev/kvm (ENOENT)' });
  const text = await mvm(['doctor'], { inNamespace: WITHOUT_KVM });
  t.is(text.code, 4);
  t.regex(text.stdout, /\[FAIL\] \/dev\/kvm: /);
  t.regex(text.stdout, /\nVirtual machines cannot run here: see FAIL above\.\n$/);
});

test.serial('doctor where a container forbids seccomp says so', async (t) => {
  const outcome = await mvm(['doctor', '--json'], { launcher: withoutCalls('seccomp') });
  t.is(outcome.code, 0, outcome.stderr);
  const seccomp = report(outcome).findings.find(({ name }) => name === 'seccomp');
  t.like(seccomp, { state: 'fair', value: 'forbidden (EPERM)' });
});

test.serial('doctor without permission on /dev/kvm ends with 4, and says what to do', async (t) => {
  const outcome = await mvm(['doctor', '--json'], withoutPermission());
  t.is(outcome.code, 4, outcome.stderr);
  const device = report(outcome).findings.find(({ name }) => name === '/dev/kvm');
  t.is(device?.state, 'bad');
  t.regex(device?.value ?? '', /permission denied|EACCES/);
  t.regex(device?.advice ?? '', /group/);
});
