import { AUDIT_ARCH_X86_64, X32_SYSCALL_BIT } from '../../../lib/seccomp/bpf.ts';
import type { Action, Condition, Profile } from '../../../lib/seccomp/profile.ts';
import type { CallData } from './interpreter.ts';

/** What a profile says of a call, read word by word: the long way, without BPF. */
export function judge(
  profile: Profile,
  values: Readonly<Record<string, number | bigint>>,
  features: ReadonlySet<string>,
  { number, arch, args }: CallData,
): Action {
  if (arch !== AUDIT_ARCH_X86_64 || number >= X32_SYSCALL_BIT) {
    return ['trap', 'kill_thread', 'kill_process'].includes(profile.defaultAction.kind)
      ? profile.defaultAction
      : { kind: 'kill_process' };
  }
  const match = profile.rules.find(
    (rule) =>
      rule.number === number &&
      (rule.when.length === 0 || rule.when.some((part) => features.has(part))) &&
      rule.conditions.every((condition) => holds(condition, values, args)),
  );
  return match === undefined ? profile.defaultAction : (match.action ?? profile.filterAction);
}

function holds(
  { index, type, op, value, mask }: Condition,
  values: Readonly<Record<string, number | bigint>>,
  args: readonly bigint[],
): boolean {
  const bits = type === 'dword' ? 32 : 64;
  const actual = BigInt.asUintN(bits, args[index]!);
  const wide = 'low' in value ? (BigInt(value.high) << 32n) | BigInt(value.low) : BigInt(values[value.startValue]!);
  const wanted = BigInt.asUintN(bits, wide);
  switch (op) {
    case 'eq':
      return actual === wanted;
    case 'ne':
      return actual !== wanted;
    case 'lt':
      return actual < wanted;
    case 'le':
      return actual <= wanted;
    case 'gt':
      return actual > wanted;
    case 'ge':
      return actual >= wanted;
    case 'masked_eq': {
      const all = (BigInt(mask!.high) << 32n) | BigInt(mask!.low);
      return (actual & all) === (wanted & all);
    }
  }
}
