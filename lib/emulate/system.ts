import { loadBytes } from './access.ts';
import { checkCanonical } from './address.ts';
import {
  CR4_OSXSAVE,
  CR4_PCIDE,
  CR4_TSD,
  Vector,
  XFEATURE_AVX,
  XFEATURE_SSE,
  XFEATURE_X87,
  XSAVE_XSTATE_BV,
} from './control.ts';
import { generalProtection, undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import { isRealMode } from './mode.ts';
import { Effect, type OperationTable } from './operation.ts';
import { Flag, Gpr } from './registers.ts';
import { type CpuContext, IA32_TSC_AUX } from './types.ts';

const LOW_32 = 0xffff_ffffn;

/** XCR0 bits that come together or not at all: MPX, AVX-512 and AMX. Intel SDM vol. 1, §13.3. */
const XCR0_TOGETHER = [0x18, 0xe0, 0x6_0000] as const;
const XFEATURE_AVX512 = 0xe0;

const descriptor = new Uint8Array(16);
const descriptorView = new DataView(descriptor.buffer);

/** `invpcid`; the other system instructions here are members of groups (see groups.ts). */
export function addSystemOperations(table: OperationTable): void {
  table.add(OpcodeMap.ThreeByte38, Prefix.OperandSize, 0x82, invpcid);
}

/** `clac`. Intel SDM vol. 2, CLAC. */
export function clac(_insn: Instruction, cpu: CpuContext): number {
  if (cpu.cpl !== 0) undefinedOpcode();
  cpu.registers.flags &= ~Flag.AC;
  return Effect.None;
}

/** `stac`. Intel SDM vol. 2, STAC. */
export function stac(_insn: Instruction, cpu: CpuContext): number {
  if (cpu.cpl !== 0) undefinedOpcode();
  cpu.registers.flags |= Flag.AC;
  return Effect.None;
}

/** `rdtscp`. Intel SDM vol. 2, RDTSCP. */
export function rdtscp(_insn: Instruction, cpu: CpuContext): number {
  if ((cpu.cr4 & CR4_TSD) !== 0 && cpu.cpl !== 0) generalProtection();
  const auxiliary = cpu.readMsr(IA32_TSC_AUX);
  writePair(cpu, cpu.readTsc());
  cpu.registers.set32(Gpr.rcx, Number(auxiliary & LOW_32));
  return Effect.None;
}

/** `rdpid`: 64 bits wide in 64-bit mode. Intel SDM vol. 2, RDPID. */
export function rdpid(insn: Instruction, cpu: CpuContext): number {
  cpu.registers.set64(insn.rm, cpu.readMsr(IA32_TSC_AUX) & LOW_32);
  return Effect.None;
}

/** `xgetbv`. Intel SDM vol. 2, XGETBV. */
export function xgetbv(_insn: Instruction, cpu: CpuContext): number {
  if ((cpu.cr4 & CR4_OSXSAVE) === 0) undefinedOpcode();
  const register = cpu.registers.get32(Gpr.rcx);
  if (register > 1) generalProtection();
  let value = cpu.readXcr0();
  // Register 1 is XCR0 and XINUSE: the components that are not in their initial configuration.
  if (register === 1) value &= cpu.extendedState().view.getUint32(XSAVE_XSTATE_BV, true);
  cpu.registers.set32(Gpr.rax, value);
  cpu.registers.set32(Gpr.rdx, 0);
  return Effect.None;
}

/** `xsetbv`. Intel SDM vol. 2, XSETBV. */
export function xsetbv(_insn: Instruction, cpu: CpuContext): number {
  const { registers } = cpu;
  if ((cpu.cr4 & CR4_OSXSAVE) === 0) undefinedOpcode();
  if (cpu.cpl !== 0 || registers.get32(Gpr.rcx) !== 0) generalProtection();
  const value = registers.get32(Gpr.rax);
  if (registers.get32(Gpr.rdx) !== 0 || !isValidXcr0(value, cpu.xsaveLayout.supported)) generalProtection();
  cpu.writeXcr0(value);
  return Effect.None;
}

/** Whether XCR0 may have this value. Intel SDM vol. 1, §13.3. */
export function isValidXcr0(value: number, supported: number): boolean {
  if ((value & ~supported) !== 0 || (value & XFEATURE_X87) === 0) return false;
  if ((value & XFEATURE_AVX) !== 0 && (value & XFEATURE_SSE) === 0) return false;
  if ((value & XFEATURE_AVX512) !== 0 && (value & XFEATURE_AVX) === 0) return false;
  return XCR0_TOGETHER.every((group) => (value & group) === 0 || (value & group) === group);
}

/**
 * `monitor` and `mwait`: nothing is watched, and the wait is over at once, as it may be for any reason (Intel SDM vol. 2, MWAIT).
 * A guest only uses them where `CPUID` has them.
 */
export function monitor(insn: Instruction, cpu: CpuContext): number {
  if (cpu.cpl !== 0) undefinedOpcode();
  return monitorx(insn, cpu);
}

/** `monitorx` and `mwaitx`: the same for any privilege level. AMD APM vol. 3, MONITORX. */
export function monitorx(_insn: Instruction, _cpu: CpuContext): number {
  return Effect.None;
}

/** `invpcid`. Intel SDM vol. 2, INVPCID. */
function invpcid(insn: Instruction, cpu: CpuContext): number {
  if (!insn.isMemory) undefinedOpcode();
  if (cpu.cpl !== 0 || (isRealMode(cpu) && (cpu.registers.flags & Flag.VM) !== 0)) generalProtection();
  const type = insn.mode === 64 ? cpu.registers.get64(insn.reg) : BigInt(cpu.registers.get32(insn.reg));
  loadBytes(insn, cpu, descriptor);
  const first = descriptorView.getBigUint64(0, true);
  if (type > 3n || first >> 12n !== 0n) generalProtection();
  if (type < 2n && (cpu.cr4 & CR4_PCIDE) === 0 && first !== 0n) generalProtection();
  if (type === 0n) checkCanonical(cpu, descriptorView.getBigUint64(8, true), 1, Vector.GP);
  // Whatever was asked for, more may go: what is cached does not change what is right.
  return Effect.FlushTlb;
}

/** Puts 64 bits into EDX:EAX. */
function writePair(cpu: CpuContext, value: bigint): void {
  cpu.registers.set32(Gpr.rax, Number(value & LOW_32));
  cpu.registers.set32(Gpr.rdx, Number((value >> 32n) & LOW_32));
}
