import {
  EINVAL,
  EPERM,
  LINUX_CAPABILITY_VERSION_3,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAPBSET_DROP,
  PR_CAPBSET_READ,
  PR_SET_DUMPABLE,
  PR_SET_NO_NEW_PRIVS,
  SYS_capset,
  SYS_prctl,
} from '../ffi/constants.ts';
import { tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { ThreadCall } from './thread-calls.ts';

/** The last one of Linux 5.9. Older kernels have fewer, for which dropping them fails. */
const CAP_CHECKPOINT_RESTORE = 40;

/** `struct __user_cap_header_struct` of the calling thread, and after it two `struct __user_cap_data_struct` without any capability. */
let noCapabilities: NativeBuffer | undefined;

function emptySets(): NativeBuffer {
  if (noCapabilities === undefined) {
    noCapabilities = new NativeBuffer(32);
    noCapabilities.view.setUint32(0, LINUX_CAPABILITY_VERSION_3, true);
  }
  return noCapabilities;
}

/** The last capability that this kernel knows (`CAP_LAST_CAP`). */
function lastCapability(): number {
  let last = CAP_CHECKPOINT_RESTORE;
  while (tryCall('syscall', SYS_prctl, PR_CAPBSET_READ, last + 1, 0, 0, 0, 0) >= 0) last++;
  return last;
}

/**
 * The calls by which a thread gives up its privileges for good: nothing that it executes can gain any, and it has no capability in any
 * set. The bounding set is left to who may not change it (an ordinary user): with `no_new_privs` it gives nothing.
 */
export function privilegeCalls(): ThreadCall[] {
  const purpose = 'give up the privileges';
  const { address } = emptySets();
  const last = lastCapability();
  return [
    { name: 'prctl', purpose, call: [SYS_prctl, PR_SET_NO_NEW_PRIVS, 1] },
    { name: 'prctl', purpose, call: [SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL], mayFail: [EINVAL] },
    ...Array.from({ length: last + 1 }, (_, capability) => ({
      name: 'prctl',
      purpose,
      call: [SYS_prctl, PR_CAPBSET_DROP, capability],
      mayFail: [EINVAL, EPERM],
    })),
    { name: 'capset', purpose, call: [SYS_capset, address, address + 8] },
  ];
}

/** For the whole process: no core dump, and no other process of the same user may look into it (ptrace(2), proc(5)). */
export const UNDUMPABLE: ThreadCall = {
  name: 'prctl',
  purpose: 'hide the memory',
  call: [SYS_prctl, PR_SET_DUMPABLE, 0],
};
