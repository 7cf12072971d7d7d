import {
  SECCOMP_RET_ACTION_FULL,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_DATA,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_KILL_THREAD,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_TRAP,
} from '../../../lib/seccomp/bpf.ts';
import type { Outcome } from './caller.ts';
import type { CallData } from './interpreter.ts';

const SIGSYS = 31;
/** <linux/err.h>: a larger errno is cut to it. */
const MAX_ERRNO = 4095;

/** What the kernel does with a call for which a filter returned `value`, under caller.c's guard. */
export function outcomeOf(value: number, { number, arch }: CallData): Outcome {
  const data = value & SECCOMP_RET_DATA;
  switch ((value & SECCOMP_RET_ACTION_FULL) >>> 0) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_TRACE:
      return { kind: 'passed' };
    case SECCOMP_RET_ERRNO:
      return { kind: 'errno', errno: Math.min(data, MAX_ERRNO) };
    case SECCOMP_RET_TRAP:
      return { kind: 'trapped', data, number, arch };
    case SECCOMP_RET_KILL_PROCESS:
    case SECCOMP_RET_KILL_THREAD:
      return { kind: 'killed', signal: SIGSYS };
    default:
      throw new Error(`no action: 0x${value.toString(16)}`);
  }
}
