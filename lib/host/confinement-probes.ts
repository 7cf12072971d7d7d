import { EFAULT, SYS_landlock_create_ruleset, SYS_seccomp } from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';
import type { Finding } from './finding.ts';
import type { HostView } from './host-view.ts';
import { probeJail } from './jail-probes.ts';

const LANDLOCK_CREATE_RULESET_VERSION = 1;
/** seccomp(2) actions that mvm's filters use. */
const SECCOMP_ACTIONS = ['kill_process', 'trap', 'errno', 'log', 'allow'];
const SECCOMP_SET_MODE_FILTER = 1;

/** What the host offers to keep a virtual machine's process in. */
export function probeConfinement(host: HostView): Finding[] {
  return [probeSeccomp(host), probeLandlock(), ...probeJail(host)];
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
