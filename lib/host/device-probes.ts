import { SYS_io_uring_setup } from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { findProgram } from './find-program.ts';
import type { Finding } from './finding.ts';
import type { HostView } from './host-view.ts';

const TUN = '/dev/net/tun';
/** `CAP_NET_ADMIN` (capability.h). */
const CAP_NET_ADMIN = 12n;
/** `struct io_uring_params`. */
const IO_URING_PARAMS_SIZE = 120;

/** What devices can use of the host. */
export function probeDevices(host: HostView): Finding[] {
  return [probeTun(host), probePasst(host), probeIoUring(host), probeVsock()];
}

function probeTun(host: HostView): Finding {
  const common = { group: 'Devices', name: TUN } as const;
  if (!host.exists(TUN)) {
    return {
      ...common,
      state: 'fair',
      value: 'missing',
      meaning: 'Guests can have no tap devices, only user-mode networks (--net user).',
      advice: 'Load it: sudo modprobe tun (in a container, pass the device on).',
    };
  }
  if (!host.isWritable(TUN)) {
    return {
      ...common,
      state: 'fair',
      value: 'permission denied',
      meaning: 'Guests of this user can have no tap devices, only user-mode networks (--net user).',
      advice: `Allow it, as distributions do: sudo chmod 0666 ${TUN}; only tap devices of your own can be opened then.`,
    };
  }
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(host.read('/proc/self/status') ?? '')?.[1];
  const isAdmin = effective !== undefined && (BigInt(`0x${effective}`) & (1n << CAP_NET_ADMIN)) !== 0n;
  return isAdmin
    ? {
        ...common,
        state: 'good',
        value: 'usable, with CAP_NET_ADMIN',
        meaning: 'Guests can have tap devices, which mvm makes where they are missing.',
      }
    : {
        ...common,
        state: 'good',
        value: 'usable, without CAP_NET_ADMIN',
        meaning: 'Guests can use tap devices that were made for this user.',
        advice: 'Have one made: sudo ip tuntap add tap0 mode tap user $USER.',
      };
}

function probePasst(host: HostView): Finding {
  const common = { group: 'Devices', name: 'passt' } as const;
  const program = findProgram(host, 'passt');
  if (program === undefined) {
    return {
      ...common,
      state: 'fair',
      value: 'not installed',
      meaning: 'Guests can have no user-mode network (--net user), only tap devices.',
      advice: 'Install it: sudo apt install passt, or https://passt.top.',
    };
  }
  return {
    ...common,
    state: 'good',
    value: program,
    meaning: 'Guests can have a user-mode network, which needs no privileges: --net user.',
  };
}

/** Asks for a ring of no entries: EINVAL is the answer of a kernel that would give one. */
function probeIoUring(host: HostView): Finding {
  const common = { group: 'Devices', name: 'io_uring' } as const;
  const params = new NativeBuffer(IO_URING_PARAMS_SIZE);
  const result = tryCall('syscall', SYS_io_uring_setup, 0, params.address, 0, 0, 0, 0);
  params.release();
  const code = errnoName(-result);
  if (code === 'EINVAL') {
    return { ...common, state: 'good', value: 'available', meaning: 'Drives with io_engine "Async" use it.' };
  }
  const setting = host.readNumber('/proc/sys/kernel/io_uring_disabled');
  const missing = code === 'ENOSYS' && setting === undefined;
  return {
    ...common,
    state: 'fair',
    value: missing ? 'not in this kernel' : `forbidden (${code})`,
    meaning: 'Drives use preadv and pwritev instead, which cost more system calls.',
    advice: missing
      ? 'Use Linux 5.10 or newer.'
      : setting
        ? 'Allow it: sudo sysctl kernel.io_uring_disabled=0.'
        : "The container's seccomp profile forbids it: allow io_uring_setup, io_uring_enter and io_uring_register.",
  };
}

function probeVsock(): Finding {
  return {
    group: 'Devices',
    name: 'vsock',
    state: 'good',
    value: 'needs nothing of the host',
    meaning: "A guest's vsock is served through Unix sockets: neither /dev/vsock nor vhost_vsock is used.",
  };
}
