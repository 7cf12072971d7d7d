import test from 'ava';
import fc from 'fast-check';
import { ConfigError } from '../../lib/errors.ts';
import {
  AUDIT_ARCH_X86_64,
  BPF_MAXINSNS,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_TRAP,
  SOCK_FILTER_SIZE,
} from '../../lib/seccomp/bpf.ts';
import { compileProfile } from '../../lib/seccomp/compile.ts';
import { type Action, type Condition, type Profile, type Rule, threadNumber } from '../../lib/seccomp/profile.ts';
import { SYSTEM_CALLS, systemCallNumber } from '../../lib/seccomp/syscalls.ts';
import { callsNear, features, profiles, START } from '../helpers/seccomp/arbitrary.ts';
import { callUnder, UNFILTERED } from '../helpers/seccomp/caller.ts';
import { outcomeOf } from '../helpers/seccomp/expected.ts';
import { type CallData, interpret } from '../helpers/seccomp/interpreter.ts';
import { judge } from '../helpers/seccomp/reference.ts';

const NOTHING = { values: {}, features: new Set<string>() };

function profileWith(rules: readonly Rule[], defaultAction: Action = { kind: 'trap' }): Profile {
  return { thread: 'main', defaultAction, filterAction: { kind: 'allow' }, rules };
}

function rule(name: string, conditions: readonly Condition[] = []): Rule {
  return { name, number: systemCallNumber(name)!, conditions, when: [], action: undefined };
}

function equals(index: number, type: 'dword' | 'qword', value: bigint): Condition {
  const operand = { text: String(value), low: Number(value & 0xffff_ffffn), high: Number(value >> 32n) };
  return { index, type, op: 'eq', value: operand, mask: undefined };
}

function callOf(number: number, args: readonly bigint[] = [], arch = AUDIT_ARCH_X86_64): CallData {
  return { number, arch, instructionPointer: 0n, args: [...args, 0n, 0n, 0n, 0n, 0n, 0n].slice(0, 6) };
}

function returned(action: Action, profile: Profile): number {
  switch (action.kind) {
    case 'allow':
      return SECCOMP_RET_ALLOW;
    case 'log':
      return 0x7ffc_0000;
    case 'trap':
      return SECCOMP_RET_TRAP + threadNumber(profile.thread);
    case 'kill_process':
      return SECCOMP_RET_KILL_PROCESS;
    case 'errno':
      return SECCOMP_RET_ERRNO + action.number;
    default:
      throw new Error(`the test makes no ${action.kind}`);
  }
}

test('a filter answers as its profile reads', (t) => {
  const lengths: number[] = [];
  const kinds = new Map<string, number>();
  fc.assert(
    fc.property(
      profiles.chain((profile) =>
        fc.tuple(fc.constant(profile), features, fc.array(callsNear(profile), { minLength: 30, maxLength: 60 })),
      ),
      ([profile, parts, calls]) => {
        const program = compileProfile(profile, { values: START, features: parts });
        lengths.push(program.length / SOCK_FILTER_SIZE);
        for (const call of calls) {
          const action = judge(profile, START, parts, call);
          const outcome = action === profile.defaultAction ? 'default' : 'matched';
          kinds.set(outcome, (kinds.get(outcome) ?? 0) + 1);
          if (interpret(program, call).value !== returned(action, profile)) {
            throw new Error(
              `call ${JSON.stringify(call, (_, value) => (typeof value === 'bigint' ? String(value) : value))}`,
            );
          }
        }
      },
    ),
    { numRuns: 300, seed: 7, endOnFailure: true },
  );
  // Programs in which jumps do not reach, and calls of both kinds, were among them.
  t.true(Math.max(...lengths) > 600);
  t.true(Math.min(kinds.get('matched') ?? 0, kinds.get('default') ?? 0) > 1000);
});

test('the kernel takes the filters, and answers as the interpreter does', (t) => {
  let count = 0;
  fc.assert(
    fc.property(
      profiles.chain((profile) =>
        fc.tuple(fc.constant(profile), features, fc.array(callsNear(profile), { minLength: 30, maxLength: 40 })),
      ),
      ([profile, parts, calls]) => {
        const program = compileProfile(profile, { values: START, features: parts });
        const native = calls
          .filter(({ number }) => !UNFILTERED.includes(number))
          .map((call) => ({ ...call, arch: AUDIT_ARCH_X86_64 }));
        const { outcomes } = callUnder(program, native);
        for (const [index, call] of native.entries()) {
          const expected = outcomeOf(interpret(program, call).value, call);
          if (JSON.stringify(outcomes[index]) !== JSON.stringify(expected)) {
            throw new Error(
              `the kernel: ${JSON.stringify(outcomes[index])}, the interpreter: ${JSON.stringify(expected)}`,
            );
          }
          count++;
        }
      },
    ),
    { numRuns: 60, seed: 8, endOnFailure: true },
  );
  t.true(count > 1800);
});

test('calls of x32 and of i386 are refused, whatever the profile', (t) => {
  const everything = [...SYSTEM_CALLS.keys()].map((name) => rule(name));
  for (const action of ['trap', 'kill_process', 'allow', 'log'] as const) {
    const filterAction: Action = action === 'allow' ? { kind: 'errno', number: 1 } : { kind: 'allow' };
    const profile: Profile = { ...profileWith(everything, { kind: action }), filterAction };
    const program = compileProfile(profile, NOTHING);
    const refused = action === 'trap' ? SECCOMP_RET_TRAP + threadNumber('main') : SECCOMP_RET_KILL_PROCESS;
    for (const number of [0, 1, 16, 202]) {
      t.is(interpret(program, callOf(number + 0x4000_0000)).value, refused);
      t.is(interpret(program, callOf(number, [], 0x4000_0003)).value, refused);
      t.not(interpret(program, callOf(number)).value, refused);
    }
    t.is(interpret(program, callOf(0xffff_ffff)).value, refused);
  }
});

test('the kernel sees calls of x32 and i386 stopped', (t) => {
  const program = compileProfile(profileWith([...SYSTEM_CALLS.keys()].map((name) => rule(name))), NOTHING);
  const getpid = 39;
  const { outcomes } = callUnder(program, [
    { number: getpid },
    { number: getpid + 0x4000_0000 },
    { number: 20, compat: true },
  ]);
  t.deepEqual(outcomes[0], { kind: 'passed' });
  t.like(outcomes[1], { kind: 'trapped', number: getpid + 0x4000_0000 });
  // A kernel without IA32 emulation has no such entry: a fault.
  if (outcomes[2]!.kind === 'trapped') t.like(outcomes[2], { number: 20, arch: 0x4000_0003 });
  else t.like(outcomes[2], { kind: 'killed', signal: 11 });
});

test('a common call is reached in few instructions', (t) => {
  const names = [...SYSTEM_CALLS.keys()].slice(0, 100);
  const program = compileProfile(profileWith(names.map((name) => rule(name))), NOTHING);
  for (const name of names) t.true(interpret(program, callOf(systemCallNumber(name)!)).steps <= 13, name);
});

test('several rules for one call are alternatives, and one without conditions is enough', (t) => {
  const read = (value: bigint) => rule('read', [equals(0, 'dword', value), equals(2, 'qword', 2n ** 40n + value)]);
  const number = systemCallNumber('read')!;
  const some = compileProfile(profileWith([read(3n), read(4n)]), NOTHING);
  const answer = (program: Uint8Array, fd: bigint, size: bigint) =>
    interpret(program, callOf(number, [fd, 0n, size])).value === SECCOMP_RET_ALLOW;
  t.true(answer(some, 3n, 2n ** 40n + 3n));
  t.true(answer(some, 4n, 2n ** 40n + 4n));
  t.false(answer(some, 3n, 2n ** 40n + 4n));
  t.false(answer(some, 4n, 4n));
  for (const rules of [
    [read(3n), rule('read')],
    [rule('read'), read(3n)],
  ]) {
    const all = compileProfile(profileWith(rules), NOTHING);
    t.true(answer(all, 9n, 9n));
    t.is(all.length, compileProfile(profileWith([rule('read')]), NOTHING).length);
  }
});

test('of several rules for one call with actions of their own, the first that matches counts', (t) => {
  const denied: Action = { kind: 'errno', number: 13 };
  const open = (flags: bigint, action?: Action): Rule => ({ ...rule('openat', [equals(2, 'dword', flags)]), action });
  const profile = profileWith([
    open(1n),
    open(0n, denied),
    open(0n),
    { ...rule('openat'), action: { kind: 'log' } },
    open(2n),
  ]);
  const answers = [0n, 1n, 2n].map(
    (flags) => interpret(compileProfile(profile, NOTHING), callOf(systemCallNumber('openat')!, [0n, 0n, flags])).value,
  );
  t.deepEqual(answers, [SECCOMP_RET_ERRNO + 13, SECCOMP_RET_ALLOW, 0x7ffc_0000]);
});

test('a rule with `when` is compiled where the machine has one of its parts', (t) => {
  const profile = profileWith([{ ...rule('socket'), when: ['vsock', 'passt'] }]);
  const socket = callOf(systemCallNumber('socket')!);
  for (const [parts, value] of [
    [[], SECCOMP_RET_TRAP + threadNumber('main')],
    [['tap'], SECCOMP_RET_TRAP + threadNumber('main')],
    [['passt'], SECCOMP_RET_ALLOW],
    [['vsock', 'tap'], SECCOMP_RET_ALLOW],
  ] as const) {
    t.is(interpret(compileProfile(profile, { values: {}, features: new Set(parts) }), socket).value, value);
  }
});

test('a value that is missing or does not fit is a defect of the caller', (t) => {
  const fd: Condition = { ...equals(0, 'dword', 0n), value: { text: '$vcpu_fd', startValue: 'vcpu_fd' } };
  const compile = (values: Record<string, number | bigint>) =>
    compileProfile(profileWith([rule('ioctl', [fd])]), { values, features: new Set() });
  t.throws(() => compile({}), { instanceOf: RangeError, message: 'no value was given for $vcpu_fd' });
  for (const value of [-1, 2 ** 32, 2n ** 32n, 1.5, Number.NaN, 2 ** 60]) {
    t.throws(() => compile({ vcpu_fd: value }), { instanceOf: RangeError }, String(value));
  }
  t.notThrows(() => compile({ vcpu_fd: 2 ** 32 - 1 }));
});

test('a filter of more instructions than the kernel takes is refused', (t) => {
  const rules = Array.from({ length: 1000 }, (_, index) =>
    rule('ioctl', [equals(1, 'qword', BigInt(index)), equals(2, 'dword', 5n)]),
  );
  const error = t.throws(() => compileProfile(profileWith(rules), NOTHING), { instanceOf: ConfigError });
  t.regex(error.message, new RegExp(`of main has \\d+ instructions, the kernel takes ${BPF_MAXINSNS}`));
});
