import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ENOSYS } from '../ffi/constants.ts';
import { tryCall } from '../ffi/libc.ts';
import { ownCgroup } from '../jail/cgroup-choice.ts';
import { findHierarchies, type Hierarchy } from '../jail/cgroup-plan.ts';
import { SYS } from '../jail/syscalls.ts';
import type { Finding } from './finding.ts';
import type { HostView } from './host-view.ts';

/** Controllers by which people limit virtual machines. */
const USEFUL = ['cpu', 'cpuset', 'memory', 'io', 'blkio', 'pids', 'hugetlb'];

/** What `mvm run --jail` can have here. */
export function probeJail(host: HostView, isRoot = process.geteuid?.() === 0): Finding[] {
  const users = probeUserNamespaces(host);
  return [users, probeNamespaces(users.state === 'good', isRoot), probeLimits(host, isRoot)];
}

function probeNamespaces(hasUsers: boolean, isRoot: boolean): Finding {
  const common = { group: 'Confinement', name: 'jail' } as const;
  // It fails whatever the arguments are, but differently where there is no such call.
  if (tryCall('syscall', SYS.mount_setattr, -1, 0, 0, 0, 0, 0) === -ENOSYS) {
    return {
      ...common,
      state: 'fair',
      value: 'not possible',
      meaning: 'mvm run --jail fails: mounts cannot be protected one by one.',
      advice: 'Use Linux 5.12 or newer.',
    };
  }
  if (isRoot) {
    return {
      ...common,
      state: 'good',
      value: 'by root',
      meaning: 'mvm run --jail makes namespaces, becomes another user, and can enter a network namespace.',
    };
  }
  return hasUsers
    ? {
        ...common,
        state: 'good',
        value: 'by this user',
        meaning: 'mvm run --jail makes namespaces; --uid, --gid and --netns take root.',
      }
    : {
        ...common,
        state: 'fair',
        value: 'by root only',
        meaning: 'mvm run --jail fails for this user, who may make no namespaces.',
        advice: 'See «user namespaces», or run mvm as root.',
      };
}

function probeUserNamespaces(host: HostView): Finding {
  const common = { group: 'Confinement', name: 'user namespaces' } as const;
  const refusal = userNamespaceRefusal(host);
  if (refusal === undefined) {
    return { ...common, state: 'good', value: 'available', meaning: 'A jail can be made without root.' };
  }
  return {
    ...common,
    state: 'fair',
    value: refusal.value,
    meaning: 'A jail can be made by root only.',
    advice: refusal.advice,
  };
}

function userNamespaceRefusal(host: HostView): { value: string; advice: string } | undefined {
  if (host.readNumber('/proc/sys/user/max_user_namespaces') === 0) {
    return { value: 'none allowed', advice: 'Allow them: sudo sysctl user.max_user_namespaces=10000.' };
  }
  if (host.readNumber('/proc/sys/kernel/unprivileged_userns_clone') === 0) {
    return { value: 'for root only', advice: 'Allow them: sudo sysctl kernel.unprivileged_userns_clone=1.' };
  }
  // A container's filter shows only when one is made; util-linux is on every distribution.
  const { status, error, stderr } = spawnSync('unshare', ['--user', 'true'], { encoding: 'utf8' });
  if (error !== undefined || status === 0) return undefined;
  if (host.readNumber('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') === 1) {
    return {
      value: 'forbidden by AppArmor',
      advice:
        'Give mvm an AppArmor profile with «userns,», or sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0.',
    };
  }
  return {
    value: `forbidden (${stderr.trim().split('\n').at(-1) ?? ''})`,
    advice: "Allow unshare(CLONE_NEWUSER) in the container's seccomp profile.",
  };
}

function probeLimits(host: HostView, isRoot: boolean): Finding {
  const common = { group: 'Confinement', name: 'cgroups' } as const;
  const hierarchies = findHierarchies(host.read('/proc/self/mountinfo') ?? '', (path) => host.read(path));
  const useful = (hierarchy: Hierarchy) => hierarchy.controllers.filter((name) => USEFUL.includes(name));
  const has = hierarchies.filter((hierarchy) => useful(hierarchy).length > 0);
  if (has.length === 0) {
    return {
      ...common,
      state: 'fair',
      value: hierarchies.length === 0 ? 'not mounted' : 'without controllers',
      meaning: "A virtual machine's CPU, memory and I/O cannot be limited.",
      advice: 'Boot the host with systemd.unified_cgroup_hierarchy=1, or mount cgroup2.',
    };
  }
  const value = ([2, 1] as const)
    .map((version) => ({ version, names: has.filter((one) => one.version === version).flatMap(useful) }))
    .filter(({ names }) => names.length > 0)
    .map(({ version, names }) => `version ${version}: ${names.join(' ')}`)
    .join('; ');
  if (isRoot || has.some((hierarchy) => isDelegated(host, hierarchy))) {
    return { ...common, state: 'good', value, meaning: 'A virtual machine in a jail can be limited: --cgroup.' };
  }
  return {
    ...common,
    state: 'fair',
    value: `${value}, not delegated`,
    meaning: 'Limits for a virtual machine can be set by root only.',
    advice: 'Start mvm in a delegated scope: systemd-run --user --scope -p Delegate=yes mvm ….',
  };
}

/** Whether this user may make cgroups below the one that it is in. */
function isDelegated(host: HostView, hierarchy: Hierarchy): boolean {
  const directory = join(hierarchy.mountPoint, ownCgroup(host.read('/proc/self/cgroup') ?? '', hierarchy));
  const files = hierarchy.version === 2 ? ['cgroup.procs', 'cgroup.subtree_control'] : ['cgroup.procs'];
  return files.every((name) => host.isWritable(join(directory, name)));
}
