import { PR_SET_NAME, SYS_prctl, SYS_sched_yield } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { MAX_CONFINING_CALLS } from '../loop/arena.ts';
import type { CallBlock } from '../native/call-block.ts';

/** Another thread has this long, in milliseconds, to do what takes it microseconds. */
const PATIENCE_MS = 5000;

/** A system call that a thread makes to confine itself. */
export interface ThreadCall {
  /** In whose name it fails. */
  readonly name: string;
  /** What it is for, as in «cannot …». */
  readonly purpose: string;
  /** Its number, and its arguments. */
  readonly call: readonly number[];
  /** Errors that do not matter. */
  readonly mayFail?: readonly number[];
  /** What to do where it fails. */
  readonly hint?: string;
}

/** The call by which a thread names itself, for ps(1) and top(1): at most 15 characters. */
export function nameCall(name: string): ThreadCall {
  const text = new NativeBuffer(16);
  text.bytes.set(Buffer.from(name));
  return { name: 'prctl', purpose: 'name the thread', call: [SYS_prctl, PR_SET_NAME, text.address] };
}

/** @throws SystemError where one of a thread's calls failed */
export function checkResults(
  calls: readonly ThreadCall[],
  resultOf: (index: number) => number,
  thread: () => string,
): void {
  for (let index = 0; index < calls.length; index++) {
    const result = resultOf(index);
    if (result >= 0) continue;
    const { name, purpose, mayFail, hint } = calls[index]!;
    if (mayFail?.includes(-result) === true) continue;
    throw new SystemError(name, -result, `${purpose} of ${thread()}`, hint === undefined ? {} : { hint });
  }
}

/** A set of all signals but some. */
export function allSignalsBut(...signals: readonly number[]): bigint {
  return signals.reduce((set, signal) => set & ~(1n << BigInt(signal - 1)), 2n ** 64n - 1n);
}

/**
 * Puts the calls into a block, for `checkResults` to look at afterwards.
 * @param signals as of `CallBlock.set`
 */
export function fillBlock(block: CallBlock, calls: readonly ThreadCall[], signals?: bigint): void {
  if (calls.length > MAX_CONFINING_CALLS) throw new RangeError(`more than ${MAX_CONFINING_CALLS} calls`);
  block.set(
    calls.map(({ call }) => call),
    signals,
  );
}

/** Lets other threads run until one has done something. @returns false where it takes too long */
export function waitUntil(isDone: () => boolean): boolean {
  const start = performance.now();
  while (!isDone()) {
    if (performance.now() - start > PATIENCE_MS) return false;
    tryCall('syscall', SYS_sched_yield, 0, 0, 0, 0, 0, 0);
  }
  return true;
}
