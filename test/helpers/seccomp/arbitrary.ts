import fc from 'fast-check';
import { AUDIT_ARCH_X86_64, X32_SYSCALL_BIT } from '../../../lib/seccomp/bpf.ts';
import {
  type Action,
  type Condition,
  FEATURES,
  type Operand,
  type Profile,
  type Rule,
  THREAD_KINDS,
} from '../../../lib/seccomp/profile.ts';
import { SYSTEM_CALLS } from '../../../lib/seccomp/syscalls.ts';
import type { CallData } from './interpreter.ts';

const CALLS = [...SYSTEM_CALLS];
/** Where comparisons in two halves go wrong. */
const EDGES = [0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 32n + 1n, 2n ** 63n, 2n ** 64n - 1n];

const word = fc.oneof(fc.constantFrom(...EDGES), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt(0n, 255n));

function operandOf(type: Condition['type']): fc.Arbitrary<{ text: string; low: number; high: number }> {
  return word.map((value) => {
    const number = BigInt.asUintN(type === 'dword' ? 32 : 64, value);
    return { text: String(number), low: Number(number & 0xffff_ffffn), high: Number(number >> 32n) };
  });
}

/** Only `wide` has more than 32 bits. */
export const START = { narrow: 7, large: 0xffff_fff0, wide: 0x7fff_1234_5678_9abcn } as const;

const condition: fc.Arbitrary<Condition> = fc
  .tuple(fc.constantFrom('dword' as const, 'qword' as const), fc.integer({ min: 0, max: 5 }))
  .chain(([type, index]) => {
    const starts = (type === 'dword' ? (['narrow', 'large'] as const) : (['narrow', 'large', 'wide'] as const)).map(
      (startValue): Operand => ({ text: `$${startValue}`, startValue }),
    );
    const value: fc.Arbitrary<Operand> = fc.oneof(operandOf(type), operandOf(type), fc.constantFrom(...starts));
    const op = fc.constantFrom(
      'eq' as const,
      'ne' as const,
      'lt' as const,
      'le' as const,
      'gt' as const,
      'ge' as const,
    );
    return fc.oneof(
      { weight: 6, arbitrary: fc.record({ op, value }).map((rest) => ({ ...rest, index, type, mask: undefined })) },
      {
        weight: 1,
        arbitrary: fc
          .record({ value, mask: operandOf(type) })
          .map((rest) => ({ ...rest, index, type, op: 'masked_eq' as const })),
      },
    );
  });

/** 4000 is what the guard of caller.c answers. */
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.constantFrom<Action>({ kind: 'allow' }, { kind: 'log' }, { kind: 'trap' }, { kind: 'kill_process' }),
  fc.record({ kind: fc.constant('errno' as const), number: fc.integer({ min: 0, max: 3999 }) }),
);

const rule = (calls: readonly (readonly [string, number])[]): fc.Arbitrary<Rule> =>
  fc
    .record({
      call: fc.constantFrom(...calls),
      conditions: fc.array(condition, { maxLength: 3 }),
      action: fc.option(action, { nil: undefined, freq: 4 }),
      when: fc.oneof({ weight: 4, arbitrary: fc.constant([]) }, fc.subarray([...FEATURES], { maxLength: 2 })),
    })
    .map(({ call: [name, number], ...rest }) => ({ name, number, ...rest }));

/** Profiles with few calls and many rules for each, and with many calls. */
export const profiles: fc.Arbitrary<Profile> = fc.record({
  thread: fc.constantFrom(...THREAD_KINDS),
  defaultAction: action,
  filterAction: action,
  rules: fc.oneof(
    fc.array(rule(CALLS.slice(0, 4)), { maxLength: 12 }),
    fc.array(rule(CALLS), { maxLength: 40 }),
    fc.array(rule(CALLS), { minLength: 100, maxLength: 180 }),
  ),
});

export const features = fc.subarray([...FEATURES]).map((parts) => new Set<string>(parts));

/** Calls that come near what a profile asks for: its numbers and values, and their neighbours. */
export function callsNear(profile: Profile): fc.Arbitrary<CallData> {
  const operands = profile.rules.flatMap(({ conditions }) =>
    conditions.map(({ value }) =>
      'low' in value ? (BigInt(value.high) << 32n) | BigInt(value.low) : BigInt(START[value.startValue as 'wide']),
    ),
  );
  const near = operands.length === 0 ? word : fc.oneof(fc.constantFrom(...operands), word);
  const argument = fc
    .tuple(near, fc.constantFrom(0n, 0n, 0n, 1n, -1n, 2n ** 32n, -(2n ** 32n)))
    .map(([value, offset]) => BigInt.asUintN(64, value + offset));
  const numbers = profile.rules.map((one) => one.number);
  const number = fc.oneof(
    { weight: 6, arbitrary: numbers.length === 0 ? fc.constant(0) : fc.constantFrom(...numbers) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 480 }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 480 }).map((n) => n + X32_SYSCALL_BIT) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff_ffff }) },
  );
  return fc.record({
    number,
    arch: fc.oneof({ weight: 9, arbitrary: fc.constant(AUDIT_ARCH_X86_64) }, fc.integer({ min: 0, max: 0xffff_ffff })),
    instructionPointer: fc.constant(0n),
    args: fc.array(argument, { minLength: 6, maxLength: 6 }),
  });
}
