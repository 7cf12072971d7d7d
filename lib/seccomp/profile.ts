/**
 * What a filter lets one kind of thread do: a profile of `seccomp-profiles/`, or of a file of the user's, once its names are
 * numbers. See `schema.ts` for the format.
 */

/** The kinds of threads, each with a profile of its own. */
export const THREAD_KINDS = ['vcpu', 'main', 'runtime'] as const;
export type ThreadKind = (typeof THREAD_KINDS)[number];

/** What SECCOMP_RET_DATA of a trap carries, and the SIGSYS handler finds in `si_errno`: from 1, so that it is never absent. */
export function threadNumber(thread: ThreadKind): number {
  return THREAD_KINDS.indexOf(thread) + 1;
}

/** The kind of thread that `threadNumber` gave this number. */
export function threadOfNumber(number: number): ThreadKind | undefined {
  return THREAD_KINDS[number - 1];
}

/** Values that are known only once the machine stands; profiles name them with `$` before. Unsigned, of 32 or 64 bits. */
export const START_VALUES: Readonly<Record<ThreadKind, readonly string[]>> = {
  vcpu: ['vcpu_fd', 'state_address', 'wake_fd', 'one_address'],
  main: ['pid', 'kick_signal', 'terminal_fd', 'termios_address'],
  runtime: ['pid', 'terminal_fd', 'termios_address'],
};

/** Parts of a machine that rules can be limited to. */
export const FEATURES = [
  'drives',
  'io_uring',
  'tap',
  'passt',
  'vsock',
  'entropy',
  'balloon',
  'console',
  'terminal',
] as const;
export type Feature = (typeof FEATURES)[number];

/** What is done with a system call (seccomp(2)); `number`: the errno (at most 4095), or what the tracer is told. */
export type Action =
  | { readonly kind: 'allow' | 'trap' | 'kill_thread' | 'kill_process' | 'log' }
  | { readonly kind: 'errno' | 'trace'; readonly number: number };

/** An unsigned number of 64 bits in two halves, or what will be known at start. */
export type Operand =
  | { readonly text: string; readonly low: number; readonly high: number }
  | { readonly text: string; readonly startValue: string };

export type Operator = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge' | 'masked_eq';

/** A comparison of one argument; unsigned. */
export interface Condition {
  /** Which argument, from 0. */
  readonly index: number;
  /** `dword`: only the low half is looked at, as the kernel does with an argument of 32 bits. */
  readonly type: 'dword' | 'qword';
  readonly op: Operator;
  readonly value: Operand;
  /** For `masked_eq`: the bits of argument and value that are compared. */
  readonly mask: { readonly text: string; readonly low: number; readonly high: number } | undefined;
}

/** One way to make a system call: all conditions hold. Of several rules for one call, the first that matches counts. */
export interface Rule {
  readonly name: string;
  /** The system call's number. */
  readonly number: number;
  readonly conditions: readonly Condition[];
  /** The rule holds where the machine has one of these; empty: always. */
  readonly when: readonly Feature[];
  /** What is done in place of the profile's `filterAction`. */
  readonly action: Action | undefined;
}

export interface Profile {
  readonly thread: ThreadKind;
  /** For what no rule matches. */
  readonly defaultAction: Action;
  /** For what a rule matches. */
  readonly filterAction: Action;
  readonly rules: readonly Rule[];
}

/** One profile for each kind of thread. */
export type Profiles = Readonly<Record<ThreadKind, Profile>>;
