import { spawnSync } from 'node:child_process';
import { EFAULT } from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';
import type { Finding } from './finding.ts';
import type { HostView } from './host-view.ts';

const SYS_landlock_create_ruleset = 444;
const LANDLOCK_CREATE_RULESET_VERSION = 1;
/** seccomp(2) actions that mvm's filters use. */
const SECCOMP_ACTIONS = ['kill_process', 'trap', 'errno', 'log', 'allow'];
const SYS_seccomp = 317;
const SECCOMP_SET_MODE_FILTER = 1;

/** What the host offers to keep a virtual machine's process in. */
export function probeConfinement(host: HostView): Finding[] {
  return [probeSeccomp(host), probeLandlock(), probeUserNamespaces(host), probeCgroup(host)];
}

function probeSeccomp(host: HostView): Finding {
  const common = { group: 'Confinement', name: 'seccomp' } as const;
  const actions = host.read('/proc/sys/kernel/seccomp/actions_avail')?.split(/\s+/) ?? [];
  const missing = SECCOMP_ACTIONS.filter((action) => !actions.includes(action));
  const refusal = missing.length === 0 ? seccompRefusal() : undefined;
  if (missing.length === 0 && refusal === undefined) {
    return {
      ...common,
      state: 'good',
      value: actions.join(' '),
      meaning: 'System calls of each thread can be filtered.',
    };
  }
  return {
    ...common,
    state: 'fair',
    value: refusal ?? (actions.length === 0 ? 'not in this kernel' : `without ${missing.join(' ')}`),
    meaning: 'System calls cannot be filtered as mvm would: it runs with --no-seccomp only.',
    advice:
      refusal === undefined
        ? 'Use a kernel with CONFIG_SECCOMP_FILTER, Linux 4.14 or newer.'
        : "Allow seccomp(2) in the container's own filter.",
  };
}

/** Why seccomp(2) fails here; undefined: it does not. Asked for a filter at address 0, a kernel that has it answers EFAULT. */
function seccompRefusal(): string | undefined {
  const error = -tryCall('syscall', SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0, 0, 0, 0);
  return error === EFAULT ? undefined : `forbidden (${errnoName(error)})`;
}

/** landlock_create_ruleset(2) tells the version of its interface when asked for no ruleset. */
function probeLandlock(): Finding {
  const common = { group: 'Confinement', name: 'Landlock' } as const;
  const abi = tryCall('syscall', SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0, 0, 0);
  if (abi > 0) {
    return { ...common, state: 'good', value: `ABI ${abi}`, meaning: 'Access to files can be limited without root.' };
  }
  const code = errnoName(-abi);
  return {
    ...common,
    state: 'fair',
    value: code === 'EOPNOTSUPP' ? 'switched off' : `not available (${code})`,
    meaning: 'Access to files is limited by user and mount namespace alone.',
    advice:
      code === 'EOPNOTSUPP'
        ? 'Boot the host with lsm=landlock,… on its command line.'
        : 'Use Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK.',
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

function probeCgroup(host: HostView): Finding {
  const common = { group: 'Confinement', name: 'cgroup v2' } as const;
  const mount = cgroup2Mount(host);
  if (mount === undefined) {
    return {
      ...common,
      state: 'fair',
      value: 'not mounted',
      meaning: "A virtual machine's CPU, memory and I/O cannot be limited.",
      advice: 'Boot the host with systemd.unified_cgroup_hierarchy=1, or mount cgroup2.',
    };
  }
  const own = /^0::(.*)$/m.exec(host.read('/proc/self/cgroup') ?? '')?.[1] ?? '/';
  const directory = `${mount}${own === '/' ? '' : own}`;
  const controllers = host.read(`${directory}/cgroup.controllers`)?.split(/\s+/).filter(Boolean) ?? [];
  const missing = ['cpu', 'memory', 'io', 'pids'].filter((controller) => !controllers.includes(controller));
  const isDelegated =
    host.isWritable(`${directory}/cgroup.procs`) && host.isWritable(`${directory}/cgroup.subtree_control`);
  const value = `${mount}, ${isDelegated ? 'delegated to this user' : 'not delegated'}, controllers: ${controllers.join(' ') || 'none'}`;
  if (!isDelegated) {
    return {
      ...common,
      state: 'fair',
      value,
      meaning: 'Limits for a virtual machine can be set by root only.',
      advice: 'Start mvm in a delegated scope: systemd-run --user --scope -p Delegate=yes mvm ….',
    };
  }
  if (missing.length > 0) {
    return {
      ...common,
      state: 'fair',
      value,
      meaning: `Limits that need ${missing.join(', ')} cannot be set.`,
      advice: `Move ${missing.length === 1 ? 'it' : 'them'} to cgroup v2: boot the host with systemd.unified_cgroup_hierarchy=1.`,
    };
  }
  return { ...common, state: 'good', value, meaning: "A virtual machine's CPU, memory and I/O can be limited." };
}

function cgroup2Mount(host: HostView): string | undefined {
  for (const line of host.read('/proc/self/mountinfo')?.split('\n') ?? []) {
    // proc(5): … mount point (the fifth field) … - file system type …
    const [before, after] = line.split(' - ');
    if (after?.startsWith('cgroup2 ')) return before?.split(' ')[4];
  }
  return undefined;
}
