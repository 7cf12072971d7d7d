import { ExitCode, MvmError } from '../errors.ts';
import type { ThreadKind } from './profile.ts';
import { systemCallName } from './syscalls.ts';

/** How it is said that a filter stopped a call, around the call's name and number. */
export function stoppedCallTexts(
  thread: string,
  profile: ThreadKind,
): { readonly before: string; readonly after: string } {
  return { before: `a seccomp filter stopped ${thread}: `, after: ` is not in the profile ${profile}` };
}

/** A seccomp filter stopped a system call. */
export class StoppedCallError extends MvmError {
  /** @param thread as in «stopped …» */
  constructor(thread: string, call: number, profile: ThreadKind) {
    const { before, after } = stoppedCallTexts(thread, profile);
    super(ExitCode.BadSyscall, `${before}${systemCallName(call) ?? 'system call'} (${call})${after}`);
  }
}
