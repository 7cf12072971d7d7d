import { ConfigError } from '../errors.ts';
import type { CpuidRegister, CpuidTable } from './cpuid/table.ts';

/** Bits to force in one CPUID leaf: each register becomes `(value & ~mask) | set`. */
export interface CpuidModifier {
  readonly leaf: number;
  readonly subleaf: number;
  readonly registers: readonly { readonly register: CpuidRegister; readonly mask: number; readonly set: number }[];
}

/** Bits to force in one MSR: `(value & ~mask) | set`. */
export interface MsrModifier {
  readonly address: number;
  readonly mask: bigint;
  readonly set: bigint;
}

/** @throws ConfigError where the table has no such leaf */
export function applyCpuidModifiers(table: CpuidTable, modifiers: readonly CpuidModifier[]): void {
  for (const { leaf, subleaf, registers } of modifiers) {
    const entry = table.find(leaf, subleaf);
    if (entry === undefined) {
      throw new ConfigError(`this host's KVM gives guests no CPUID leaf ${hex(leaf)}, sub-leaf ${hex(subleaf)}`, {
        where: '/cpu-config/cpuid_modifiers',
        hint: 'remove the modifier, or run on a CPU that has the leaf',
      });
    }
    for (const { register, mask, set } of registers) entry[register] = ((entry[register] & ~mask) | set) >>> 0;
  }
}

/**
 * MSRs after the template, from those before it.
 *
 * @param current what `KVM_GET_MSRS` gave for the modifiers' addresses
 * @throws ConfigError where an MSR is not among them: KVM does not have it
 */
export function applyMsrModifiers(
  current: ReadonlyMap<number, bigint>,
  modifiers: readonly MsrModifier[],
): { index: number; data: bigint }[] {
  return modifiers.map(({ address, mask, set }) => {
    const value = current.get(address);
    if (value === undefined) {
      throw new ConfigError(`this host's KVM gives guests no MSR ${hex(address)}`, {
        where: '/cpu-config/msr_modifiers',
        hint: 'remove the modifier, or run on a CPU that has it',
      });
    }
    return { index: address, data: (value & ~mask) | set };
  });
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
