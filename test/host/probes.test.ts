import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { probeConfinement } from '../../lib/host/confinement-probes.ts';
import { probeDevices } from '../../lib/host/device-probes.ts';
import { findProgram } from '../../lib/host/find-program.ts';
import type { Finding } from '../../lib/host/finding.ts';
import { HostView } from '../../lib/host/host-view.ts';
import { probeJail } from '../../lib/host/jail-probes.ts';
import { probeKvmDevice } from '../../lib/host/kvm-device.ts';
import { probeKvmKind } from '../../lib/host/kvm-kind.ts';
import { freeHugePages, probeMemory } from '../../lib/host/memory-probes.ts';

/** A host that has these files. */
function hostWith(t: ExecutionContext, files: Readonly<Record<string, string>>): HostView {
  const root = mkdtempSync(join(tmpdir(), 'mvm-host-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), `${content}\n`);
  }
  return new HostView(root);
}

function finding(findings: readonly Finding[], name: string): Finding {
  const found = findings.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`nothing was found about ${name}`);
  return found;
}

const cpuinfo = (flags: string) => `processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu ${flags} sse2\n`;

test('each kind of KVM is told from the others', (t) => {
  const kind = (files: Record<string, string>) => finding(probeKvmKind(hostWith(t, files)), 'kind');
  const intel = { '/sys/module/kvm_intel/parameters/ept': 'Y' };
  const amd = { '/sys/module/kvm_amd/parameters/npt': '1' };

  t.like(kind({ '/proc/cpuinfo': cpuinfo('vmx'), ...intel }), { state: 'good', value: 'VMX' });
  t.like(kind({ '/proc/cpuinfo': cpuinfo('vmx hypervisor'), ...intel }), { state: 'good', value: 'VMX, nested' });
  t.like(kind({ '/proc/cpuinfo': cpuinfo('svm'), ...amd }), { state: 'good', value: 'SVM' });
  t.like(kind({ '/proc/cpuinfo': cpuinfo('svm'), '/sys/module/kvm_amd/parameters/npt': 'N' }), {
    state: 'fair',
    value: 'SVM, without NPT',
  });
  t.like(kind({ '/proc/cpuinfo': cpuinfo('hypervisor'), '/sys/module/kvm_pvm/x': '' }), {
    state: 'fair',
    value: 'PVM (pagetable-based)',
  });
});

test('where there is no KVM, the advice is about what is missing', (t) => {
  const kind = (flags: string) => finding(probeKvmKind(hostWith(t, { '/proc/cpuinfo': cpuinfo(flags) })), 'kind');
  t.like(kind('vmx'), { state: 'bad', value: 'none' });
  t.regex(kind('vmx').advice!, /modprobe kvm_intel/);
  t.regex(kind('svm').advice!, /modprobe kvm_amd/);
  t.regex(kind('').advice!, /firmware/);
  t.regex(kind('hypervisor').advice!, /nested virtualization/);
});

test('a /dev/kvm that is missing, or is something else, is bad', (t) => {
  const [missing] = probeKvmDevice(hostWith(t, {}));
  t.like(missing, { name: '/dev/kvm', state: 'bad' });
  t.regex(missing!.value, /ENOENT/);
  t.regex(missing!.advice!, /module/);
  const [file] = probeKvmDevice(hostWith(t, { '/dev/kvm': 'not a device' }));
  t.is(file!.state, 'bad');
  t.regex(file!.value, /is not KVM/);
});

test('this host’s KVM opens, has what mvm needs, and gives a virtual machine', (t) => {
  const findings = probeKvmDevice(new HostView());
  t.deepEqual(
    findings.map(({ name, state }) => [name, state]),
    [
      ['/dev/kvm', 'good'],
      ['capabilities', 'good'],
      ['a virtual machine', 'good'],
    ],
  );
});

test('memory and its pages', (t) => {
  const pool = '/sys/kernel/mm/hugepages/hugepages-2048kB';
  const thp = '/sys/kernel/mm/transparent_hugepage/enabled';
  const meminfo = 'MemTotal:       8388608 kB\nMemFree:  1 kB\nMemAvailable:   2097152 kB';
  const rich = hostWith(t, {
    '/proc/meminfo': meminfo,
    [thp]: 'always [madvise] never',
    [`${pool}/nr_hugepages`]: '100',
    [`${pool}/free_hugepages`]: '64',
    [`${pool}/resv_hugepages`]: '4',
    [`${pool}/surplus_hugepages`]: '2',
    [`${pool}/nr_overcommit_hugepages`]: '10',
  });
  const findings = probeMemory(rich);
  t.is(finding(findings, 'memory').value, '2 GiB of 8 GiB available');
  t.like(finding(findings, 'transparent huge pages'), { state: 'good', value: 'madvise' });
  t.is(freeHugePages(rich), 64 - 4 + 8);
  t.like(finding(findings, '2 MiB page pool'), {
    state: 'good',
    value: '64 of 100 pages free (and up to 10 beyond the pool)',
    meaning: 'Guests with huge_pages "2M" can have 136 MiB.',
  });

  const poor = probeMemory(
    hostWith(t, { [thp]: 'always madvise [never]', [`${pool}/nr_hugepages`]: '0', [`${pool}/free_hugepages`]: '0' }),
  );
  t.like(finding(poor, 'memory'), { state: 'fair', value: 'unknown' });
  t.is(finding(poor, 'transparent huge pages').state, 'fair');
  t.like(finding(poor, '2 MiB page pool'), { state: 'info', value: 'empty' });
  const none = probeMemory(hostWith(t, {}));
  t.is(finding(none, 'transparent huge pages').value, 'not in this kernel');
  t.is(finding(none, '2 MiB page pool').value, 'not in this kernel');
});

test('tun: missing, usable with and without CAP_NET_ADMIN', (t) => {
  const tun = (files: Record<string, string>) => finding(probeDevices(hostWith(t, files)), '/dev/net/tun');
  t.like(tun({}), { state: 'fair', value: 'missing' });
  t.is(
    tun({ '/dev/net/tun': '', '/proc/self/status': 'Name:\tx\nCapEff:\t0000000000001000' }).value,
    'usable, with CAP_NET_ADMIN',
  );
  const without = tun({ '/dev/net/tun': '', '/proc/self/status': 'CapEff:\t0000000000000fff' });
  t.is(without.value, 'usable, without CAP_NET_ADMIN');
  t.regex(without.advice!, /ip tuntap/);
});

test('passt: in PATH, or not', (t) => {
  const passt = (files: Record<string, string>) => finding(probeDevices(hostWith(t, files)), 'passt');
  t.like(passt({}), { state: 'fair', value: 'not installed' });
  t.like(passt({ '/usr/bin/passt': 'not a program' }), { state: 'fair' });
  t.like(finding(probeDevices(new HostView()), 'passt'), {
    state: 'good',
    value: findProgram(new HostView(), 'passt'),
  });
});

test('programs are found in the folders of PATH, in their order', (t) => {
  const host = hostWith(t, { '/a/tool': '', '/b/tool': '', '/c/tool/x': '', '/d/tool': '' });
  chmodSync(host.path('/b/tool'), 0o755);
  chmodSync(host.path('/d/tool'), 0o755);
  t.is(findProgram(host, 'tool', '/none:/a:/c:b:/b:/d'), '/b/tool');
  t.is(findProgram(host, 'tool', '/a::'), undefined);
});

test('io_uring, Landlock and user namespaces are asked of the kernel itself', (t) => {
  const host = new HostView();
  for (const { name, state, value, advice } of [...probeDevices(host), ...probeConfinement(host)]) {
    t.true(['good', 'fair'].includes(state), name);
    t.not(value, '', name);
    // Whoever lacks something is told what to do.
    if (state === 'fair') t.regex(advice ?? '', /\w/, name);
  }
});

test('user namespaces that a setting forbids, and seccomp without an action', (t) => {
  const confinement = (files: Record<string, string>, name: string) =>
    finding(probeConfinement(hostWith(t, files)), name);
  t.is(confinement({ '/proc/sys/user/max_user_namespaces': '0' }, 'user namespaces').value, 'none allowed');
  t.is(confinement({ '/proc/sys/kernel/unprivileged_userns_clone': '0' }, 'user namespaces').value, 'for root only');
  const actions = '/proc/sys/kernel/seccomp/actions_avail';
  t.is(confinement({ [actions]: 'kill_process trap errno log allow' }, 'seccomp').state, 'good');
  t.is(confinement({ [actions]: 'kill_thread trap errno allow' }, 'seccomp').value, 'without kill_process log');
  t.is(confinement({}, 'seccomp').value, 'not in this kernel');
});

test('cgroups: mounted where they are, of either version, for root and for others', (t) => {
  const cgroups = (files: Record<string, string>, isRoot = false) =>
    finding(probeJail(hostWith(t, files), isRoot), 'cgroups');
  const unified = '30 1 0:26 / /cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw';
  const memory = '31 1 0:27 / /cgroup/memory rw - cgroup cgroup rw,memory';
  t.is(cgroups({}).value, 'not mounted');
  t.is(cgroups({ '/proc/self/mountinfo': unified }, true).value, 'without controllers');
  const base = { '/proc/self/mountinfo': `${unified}\n${memory}`, '/cgroup/cgroup.controllers': 'rdma cpu pids' };
  const value = 'version 2: cpu pids; version 1: memory';
  t.like(cgroups(base, true), { state: 'good', value });
  t.like(cgroups(base), { state: 'fair', value: `${value}, not delegated` });
  const own = { '/proc/self/cgroup': '0::/user.slice/mvm', '/cgroup/user.slice/mvm/cgroup.procs': '' };
  t.is(cgroups({ ...base, ...own }).state, 'fair');
  t.like(cgroups({ ...base, ...own, '/cgroup/user.slice/mvm/cgroup.subtree_control': '' }), { state: 'good', value });
});

test('a jail is made by root, or by a user who may make namespaces', (t) => {
  const jail = (files: Record<string, string>, isRoot: boolean) =>
    finding(probeJail(hostWith(t, files), isRoot), 'jail');
  const forbidden = { '/proc/sys/user/max_user_namespaces': '0' };
  t.like(jail(forbidden, true), { state: 'good', value: 'by root' });
  t.like(jail(forbidden, false), { state: 'fair', value: 'by root only' });
});
