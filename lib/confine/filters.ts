import { SYS_seccomp } from '../ffi/constants.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { SOCK_FILTER_SIZE } from '../seccomp/bpf.ts';
import { compileProfile } from '../seccomp/compile.ts';
import type { Feature, Profile } from '../seccomp/profile.ts';
import { withReport } from './reporting.ts';
import type { ThreadCall } from './thread-calls.ts';

const SECCOMP_SET_MODE_FILTER = 1;

/**
 * The call by which a thread gets its filter, for good; it must have `no_new_privs`, and make this call last.
 * @param values what the profile's `$` names stand for
 */
export function filterCall(
  profile: Profile,
  values: Readonly<Record<string, number>>,
  features: ReadonlySet<Feature>,
): ThreadCall {
  const program = compileProfile(withReport(profile), { values, features });
  // struct sock_fprog (<linux/filter.h>): u16 len, then from 8 on the address of the instructions.
  const memory = new NativeBuffer(16 + program.length, 8);
  memory.view.setUint16(0, program.length / SOCK_FILTER_SIZE, true);
  memory.setNumber64(8, memory.address + 16);
  memory.bytes.set(program, 16);
  return {
    name: 'seccomp',
    purpose: 'filter the system calls',
    hint: '`mvm doctor` tells why; --no-seccomp does without',
    call: [SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, memory.address],
  };
}
