import { loadLinear64 } from './access.ts';
import { undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { OpcodeMap } from './instruction.ts';
import { isLongMode, isRealMode } from './mode.ts';
import { readRm, writeRegister } from './operands.ts';
import { Effect, type OperationTable } from './operation.ts';
import { Flag } from './registers.ts';
import type { CpuContext } from './types.ts';

/** Bits of a selector. Intel SDM vol. 3, §3.4.2. */
const SELECTOR_RPL = 3;
const SELECTOR_TI = 4;

/** Fields of a descriptor's upper half. Intel SDM vol. 3, §3.4.5. */
const TYPE_SHIFT = 8;
const S = 1 << 12;
const DPL_SHIFT = 13;
const G = 1 << 23;
/** Types with S = 1. */
const CODE = 8;
const CONFORMING = 4;
const ACCESSIBLE = 2;

/** System descriptor types (bit n: type n) that `lar` and `lsl` take, outside long mode and in it. Intel SDM vol. 2, tables 3-52 and 3-55. */
const LAR_TYPES = 0b0001_1010_0011_1110;
const LAR_TYPES_LONG = 0b0001_1010_0000_0100;
const LSL_TYPES = 0b0000_1010_0000_1110;
const LSL_TYPES_LONG = 0b0000_1010_0000_0100;

/** `lar`, `lsl`; `verr` and `verw` are members of group 6 (see groups.ts). */
export function addDescriptorOperations(table: OperationTable): void {
  table.addForAllPrefixes(OpcodeMap.TwoByte, 0x02, lar);
  table.addForAllPrefixes(OpcodeMap.TwoByte, 0x03, lsl);
}

/** `verr r/m16`. Intel SDM vol. 2, VERR/VERW. */
export function verr(insn: Instruction, cpu: CpuContext): number {
  const selector = readSelector(insn, cpu);
  const high = descriptorHigh(cpu, selector);
  const type = typeOf(high);
  const readable = (type & CODE) === 0 || (type & ACCESSIBLE) !== 0;
  return setZero(cpu, (high & S) !== 0 && readable && isPrivileged(cpu, selector, high));
}

/** `verw r/m16`: as the manual has it; buffers that some processors overwrite besides are not the guest's to see. */
export function verw(insn: Instruction, cpu: CpuContext): number {
  const selector = readSelector(insn, cpu);
  const high = descriptorHigh(cpu, selector);
  const type = typeOf(high);
  const writable = (type & CODE) === 0 && (type & ACCESSIBLE) !== 0;
  return setZero(cpu, (high & S) !== 0 && writable && isPrivileged(cpu, selector, high));
}

function lar(insn: Instruction, cpu: CpuContext): number {
  const selector = readSelector(insn, cpu);
  const high = descriptorHigh(cpu, selector);
  if (!isTaken(cpu, selector, high, isLongMode(cpu) ? LAR_TYPES_LONG : LAR_TYPES)) return setZero(cpu, false);
  const rights = high & (insn.operandSize === 2 ? 0xff00 : 0x00ff_ff00);
  writeRegister(cpu, insn.reg, insn.operandSize, BigInt(rights));
  return setZero(cpu, true);
}

function lsl(insn: Instruction, cpu: CpuContext): number {
  const selector = readSelector(insn, cpu);
  const descriptor = readDescriptor(cpu, selector);
  const high = Number(descriptor >> 32n);
  if (!isTaken(cpu, selector, high, isLongMode(cpu) ? LSL_TYPES_LONG : LSL_TYPES)) return setZero(cpu, false);
  let limit = (high & 0x000f_0000) | Number(descriptor & 0xffffn);
  if ((high & G) !== 0) limit = ((limit << 12) | 0xfff) >>> 0;
  writeRegister(cpu, insn.reg, insn.operandSize, BigInt(insn.operandSize === 2 ? limit & 0xffff : limit));
  return setZero(cpu, true);
}

function isTaken(cpu: CpuContext, selector: number, high: number, systemTypes: number): boolean {
  if (high === 0) return false;
  if ((high & S) === 0 && ((systemTypes >>> typeOf(high)) & 1) === 0) return false;
  return isPrivileged(cpu, selector, high);
}

/** Whether CPL and RPL reach the descriptor's DPL; conforming code is open to all. */
function isPrivileged(cpu: CpuContext, selector: number, high: number): boolean {
  if ((high & S) !== 0 && (typeOf(high) & (CODE | CONFORMING)) === (CODE | CONFORMING)) return true;
  const dpl = (high >>> DPL_SHIFT) & 3;
  return cpu.cpl <= dpl && (selector & SELECTOR_RPL) <= dpl;
}

function typeOf(high: number): number {
  return (high >>> TYPE_SHIFT) & 0xf;
}

function readSelector(insn: Instruction, cpu: CpuContext): number {
  if (isRealMode(cpu)) undefinedOpcode();
  return Number(readRm(insn, cpu, 2));
}

function descriptorHigh(cpu: CpuContext, selector: number): number {
  return Number(readDescriptor(cpu, selector) >> 32n);
}

/** The descriptor that a selector names, or 0 for the null selector and beyond the table: no descriptor that counts is 0. */
function readDescriptor(cpu: CpuContext, selector: number): bigint {
  const local = (selector & SELECTOR_TI) !== 0;
  const at = selector & ~(SELECTOR_RPL | SELECTOR_TI);
  if (!local && at === 0) return 0n;
  const { base, limit } = local ? cpu.ldt : cpu.gdt;
  if (local && (cpu.ldt.unusable !== 0 || cpu.ldt.present === 0)) return 0n;
  if (at + 7 > limit) return 0n;
  // The processor's own access: a supervisor's, whatever CPL and RFLAGS.AC are.
  return loadLinear64(cpu, BigInt.asUintN(isLongMode(cpu) ? 64 : 32, base + BigInt(at)), 0);
}

function setZero(cpu: CpuContext, value: boolean): number {
  cpu.registers.changeFlags(Flag.ZF, value ? Flag.ZF : 0);
  return Effect.None;
}
