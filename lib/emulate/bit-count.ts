import type { Instruction } from './instruction.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import { readRm, writeRegister } from './operands.ts';
import { Effect, type OperationTable } from './operation.ts';
import { ARITHMETIC_FLAGS, Flag } from './registers.ts';
import type { CpuContext } from './types.ts';

const LOW_32 = 0xffff_ffffn;

/** `popcnt`, `lzcnt` and `tzcnt`. Intel SDM vol. 2. */
export function addBitCountOperations(table: OperationTable): void {
  table.add(OpcodeMap.TwoByte, Prefix.F3, 0xb8, popcnt);
  table.add(OpcodeMap.TwoByte, Prefix.F3, 0xbc, tzcnt);
  table.add(OpcodeMap.TwoByte, Prefix.F3, 0xbd, lzcnt);
}

function popcnt(insn: Instruction, cpu: CpuContext): number {
  const source = readRm(insn, cpu, insn.operandSize);
  const count = countOnes(Number(source & LOW_32)) + countOnes(Number(source >> 32n));
  cpu.registers.changeFlags(ARITHMETIC_FLAGS, source === 0n ? Flag.ZF : 0);
  writeRegister(cpu, insn.reg, insn.operandSize, BigInt(count));
  return Effect.None;
}

function tzcnt(insn: Instruction, cpu: CpuContext): number {
  const source = readRm(insn, cpu, insn.operandSize);
  const low = Number(source & LOW_32);
  let count = insn.operandSize * 8;
  if (low !== 0) count = trailingZeros(low);
  else if (source !== 0n) count = 32 + trailingZeros(Number(source >> 32n));
  return finishZeroCount(insn, cpu, source, count);
}

function lzcnt(insn: Instruction, cpu: CpuContext): number {
  const source = readRm(insn, cpu, insn.operandSize);
  const high = Number(source >> 32n);
  const leading = high !== 0 ? Math.clz32(high) : 32 + Math.clz32(Number(source & LOW_32));
  return finishZeroCount(insn, cpu, source, leading - (64 - insn.operandSize * 8));
}

/** CF says that there was no 1, ZF that the count is 0; the other flags are undefined. */
function finishZeroCount(insn: Instruction, cpu: CpuContext, source: bigint, count: number): number {
  cpu.registers.changeFlags(Flag.CF | Flag.ZF, (source === 0n ? Flag.CF : 0) | (count === 0 ? Flag.ZF : 0));
  writeRegister(cpu, insn.reg, insn.operandSize, BigInt(count));
  return Effect.None;
}

function trailingZeros(value: number): number {
  return 31 - Math.clz32(value & -value);
}

/** How many bits of a 32-bit number are 1: sums of pairs, of fours, of bytes, then of all. */
function countOnes(value: number): number {
  let sum = value - ((value >>> 1) & 0x5555_5555);
  sum = (sum & 0x3333_3333) + ((sum >>> 2) & 0x3333_3333);
  sum = (sum + (sum >>> 4)) & 0x0f0f_0f0f;
  return Math.imul(sum, 0x0101_0101) >>> 24;
}
