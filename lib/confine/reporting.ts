import { ExitCode } from '../errors.ts';
import { SYS_exit_group, SYS_write } from '../ffi/constants.ts';
import type { Condition, Operand, Profile, Rule, ThreadKind } from '../seccomp/profile.ts';

const STDERR = 2;

type Pin = readonly [index: number, type: Condition['type'], value: number | string];

const operand = (value: number | string): Operand =>
  typeof value === 'number' ? { text: String(value), low: value, high: 0 } : { text: `$${value}`, startValue: value };

const rule = (name: string, number: number, ...pins: Pin[]): Rule => ({
  name,
  number,
  conditions: pins.map(([index, type, value]) => ({ index, type, op: 'eq', value: operand(value), mask: undefined })),
  when: [],
  action: undefined,
});

const OWN_REPORT = [
  rule('write', SYS_write, [0, 'dword', STDERR]),
  rule('exit_group', SYS_exit_group, [0, 'dword', ExitCode.BadSyscall]),
];

/** What a thread does to report that its filter stopped a call: see `lib/native/violation.S`. */
const REPORTS: Readonly<Record<ThreadKind, readonly Rule[]>> = {
  vcpu: [rule('write', SYS_write, [0, 'dword', 'wake_fd'], [1, 'qword', 'one_address'], [2, 'qword', 8])],
  main: OWN_REPORT,
  runtime: OWN_REPORT,
};

/** Lets a thread report what its filter stops, also where a profile of the user's does not have the calls for it at all. */
export function withReport(profile: Profile): Profile {
  const missing = REPORTS[profile.thread].filter(({ number }) => !profile.rules.some((has) => has.number === number));
  return missing.length === 0 ? profile : { ...profile, rules: [...profile.rules, ...missing] };
}
