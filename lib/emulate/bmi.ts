import { undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import { readRegister, readRm, writeRegister } from './operands.ts';
import { Effect, type Execute, type OperationTable, VEX_0F3A, VEX_0F38 } from './operation.ts';
import { Flag, Gpr } from './registers.ts';
import type { CpuContext } from './types.ts';

/** BMI1, BMI2 and ADX. Intel SDM vol. 2, each under its name. */
export function addBmiOperations(table: OperationTable): void {
  table.add(VEX_0F38, Prefix.None, 0xf2, narrow(andn));
  table.add(VEX_0F38, Prefix.None, 0xf3, narrow(lowestBitGroup));
  table.add(VEX_0F38, Prefix.None, 0xf7, narrow(bextr));
  table.add(VEX_0F38, Prefix.None, 0xf5, narrow(bzhi));
  table.add(VEX_0F38, Prefix.OperandSize, 0xf7, narrow(shlx));
  table.add(VEX_0F38, Prefix.F3, 0xf7, narrow(sarx));
  table.add(VEX_0F38, Prefix.F2, 0xf7, narrow(shrx));
  table.add(VEX_0F38, Prefix.F2, 0xf5, narrow(pdep));
  table.add(VEX_0F38, Prefix.F3, 0xf5, narrow(pext));
  table.add(VEX_0F38, Prefix.F2, 0xf6, narrow(mulx));
  table.add(VEX_0F3A, Prefix.F2, 0xf0, narrow(rorx), { immediate: 1 });
  table.add(OpcodeMap.ThreeByte38, Prefix.OperandSize, 0xf6, adcx);
  table.add(OpcodeMap.ThreeByte38, Prefix.F3, 0xf6, adox);
}

/** VEX.L = 1 is #UD for all instructions on general registers. */
function narrow(execute: Execute): Execute {
  return (insn, cpu) => {
    if (insn.vexL !== 0) undefinedOpcode();
    return execute(insn, cpu);
  };
}

function andn(insn: Instruction, cpu: CpuContext): number {
  const size = insn.operandSize;
  const result = ~readRegister(insn, cpu, insn.vexRegister, size) & readRm(insn, cpu, size);
  setSignAndZero(insn, cpu, result, 0);
  writeRegister(cpu, insn.reg, size, result);
  return Effect.None;
}

/** Group 17: `blsr` (/1), `blsmsk` (/2), `blsi` (/3). The destination is VEX.vvvv. */
function lowestBitGroup(insn: Instruction, cpu: CpuContext): number {
  const extension = insn.reg & 7;
  if (extension < 1 || extension > 3) undefinedOpcode();
  const size = insn.operandSize;
  const source = readRm(insn, cpu, size);
  const lower = source - 1n;
  let result: bigint;
  if (extension === 1) result = source & lower;
  else if (extension === 2) result = source ^ lower;
  else result = source & -source;
  result = BigInt.asUintN(size * 8, result);
  const carry = (source === 0n) === (extension !== 3);
  setSignAndZero(insn, cpu, result, carry ? Flag.CF : 0);
  writeRegister(cpu, insn.vexRegister, size, result);
  return Effect.None;
}

function bextr(insn: Instruction, cpu: CpuContext): number {
  const size = insn.operandSize;
  const source = readRm(insn, cpu, size);
  const control = cpu.registers.get16(insn.vexRegister);
  const start = BigInt(control & 0xff);
  const result = BigInt.asUintN(control >>> 8, source >> start);
  cpu.registers.changeFlags(Flag.ZF | Flag.CF | Flag.OF, result === 0n ? Flag.ZF : 0);
  writeRegister(cpu, insn.reg, size, result);
  return Effect.None;
}

function bzhi(insn: Instruction, cpu: CpuContext): number {
  const size = insn.operandSize;
  const source = readRm(insn, cpu, size);
  const index = cpu.registers.get8(insn.vexRegister, true);
  const result = index < size * 8 ? BigInt.asUintN(index, source) : source;
  setSignAndZero(insn, cpu, result, index < size * 8 ? 0 : Flag.CF);
  writeRegister(cpu, insn.reg, size, result);
  return Effect.None;
}

/** The shift count of `shlx`, `shrx` and `sarx`: 5 or 6 bits of VEX.vvvv. */
function shiftCount(insn: Instruction, cpu: CpuContext): bigint {
  return BigInt(cpu.registers.get32(insn.vexRegister) & (insn.operandSize * 8 - 1));
}

function shlx(insn: Instruction, cpu: CpuContext): number {
  const size = insn.operandSize;
  const result = BigInt.asUintN(size * 8, readRm(insn, cpu, size) << shiftCount(insn, cpu));
  writeRegister(cpu, insn.reg, size, result);
  return Effect.None;
}

function shrx(insn: Instruction, cpu: CpuContext): number {
  const size = insn.operandSize;
  writeRegister(cpu, insn.reg, size, readRm(insn, cpu, size) >> shiftCount(insn, cpu));
  return Effect.None;
}

function sarx(insn: Instruction, cpu: CpuContext): number {
  const size = insn.operandSize;
  const signed = BigInt.asIntN(size * 8, readRm(insn, cpu, size));
  writeRegister(cpu, insn.reg, size, BigInt.asUintN(size * 8, signed >> shiftCount(insn, cpu)));
  return Effect.None;
}

function rorx(insn: Instruction, cpu: CpuContext): number {
  if (insn.vexRegister !== 0) undefinedOpcode();
  const size = insn.operandSize;
  const source = readRm(insn, cpu, size);
  const count = BigInt(insn.immediate & (size * 8 - 1));
  const result = BigInt.asUintN(size * 8, (source >> count) | (source << (BigInt(size * 8) - count)));
  writeRegister(cpu, insn.reg, size, result);
  return Effect.None;
}

/** The low half goes to VEX.vvvv first: where both destinations are one register, the high half stays. */
function mulx(insn: Instruction, cpu: CpuContext): number {
  const size = insn.operandSize;
  const product = readRm(insn, cpu, size) * readRegister(insn, cpu, Gpr.rdx, size);
  writeRegister(cpu, insn.vexRegister, size, BigInt.asUintN(size * 8, product));
  writeRegister(cpu, insn.reg, size, product >> BigInt(size * 8));
  return Effect.None;
}

/** Deposits the low bits of VEX.vvvv where the mask has ones. */
function pdep(insn: Instruction, cpu: CpuContext): number {
  const size = insn.operandSize;
  let mask = readRm(insn, cpu, size);
  let source = readRegister(insn, cpu, insn.vexRegister, size);
  let result = 0n;
  while (mask !== 0n) {
    const bit = mask & -mask;
    if ((source & 1n) !== 0n) result |= bit;
    source >>= 1n;
    mask ^= bit;
  }
  writeRegister(cpu, insn.reg, size, result);
  return Effect.None;
}

/** Collects the bits of VEX.vvvv where the mask has ones. */
function pext(insn: Instruction, cpu: CpuContext): number {
  const size = insn.operandSize;
  let mask = readRm(insn, cpu, size);
  const source = readRegister(insn, cpu, insn.vexRegister, size);
  let result = 0n;
  for (let bit = 1n; mask !== 0n; bit <<= 1n) {
    const lowest = mask & -mask;
    if ((source & lowest) !== 0n) result |= bit;
    mask ^= lowest;
  }
  writeRegister(cpu, insn.reg, size, result);
  return Effect.None;
}

function adcx(insn: Instruction, cpu: CpuContext): number {
  return addWithCarryIn(insn, cpu, Flag.CF);
}

function adox(insn: Instruction, cpu: CpuContext): number {
  return addWithCarryIn(insn, cpu, Flag.OF);
}

/** Adds with `flag` as the carry, in and out, and touches no other. 66 is part of `adcx`: it does not make it 16 bits wide. */
function addWithCarryIn(insn: Instruction, cpu: CpuContext, flag: number): number {
  const size = insn.rexW ? 8 : 4;
  const { registers } = cpu;
  const carry = (registers.flags & flag) !== 0 ? 1n : 0n;
  const sum = readRegister(insn, cpu, insn.reg, size) + readRm(insn, cpu, size) + carry;
  registers.changeFlags(flag, sum >> BigInt(size * 8) !== 0n ? flag : 0);
  writeRegister(cpu, insn.reg, size, BigInt.asUintN(size * 8, sum));
  return Effect.None;
}

/** Sets SF and ZF from a result, CF as given, and clears OF. */
function setSignAndZero(insn: Instruction, cpu: CpuContext, result: bigint, carry: number): void {
  let flags = carry;
  if (result === 0n) flags |= Flag.ZF;
  else if (result >> BigInt(insn.operandSize * 8 - 1) !== 0n) flags |= Flag.SF;
  cpu.registers.changeFlags(Flag.SF | Flag.ZF | Flag.CF | Flag.OF, flags);
}
