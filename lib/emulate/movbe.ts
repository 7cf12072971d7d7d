import { load, load64, store, store64 } from './access.ts';
import { undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import { Effect, type OperationTable } from './operation.ts';
import type { CpuContext } from './types.ts';

const swap = new DataView(new ArrayBuffer(8));

/** `movbe`: a move to or from memory that swaps bytes. Intel SDM vol. 2, MOVBE. */
export function addMoveBigEndianOperations(table: OperationTable): void {
  for (const prefix of [Prefix.None, Prefix.OperandSize]) {
    table.add(OpcodeMap.ThreeByte38, prefix, 0xf0, loadSwapped);
    table.add(OpcodeMap.ThreeByte38, prefix, 0xf1, storeSwapped);
  }
}

function loadSwapped(insn: Instruction, cpu: CpuContext): number {
  if (!insn.isMemory) undefinedOpcode();
  if (insn.operandSize === 8) cpu.registers.set64(insn.reg, swap64(load64(insn, cpu)));
  else if (insn.operandSize === 4) cpu.registers.set32(insn.reg, swap32(load(insn, cpu, 4)));
  else cpu.registers.set16(insn.reg, swap32(load(insn, cpu, 2)) >>> 16);
  return Effect.None;
}

function storeSwapped(insn: Instruction, cpu: CpuContext): number {
  if (!insn.isMemory) undefinedOpcode();
  if (insn.operandSize === 8) store64(insn, cpu, swap64(cpu.registers.get64(insn.reg)));
  else if (insn.operandSize === 4) store(insn, cpu, 4, swap32(cpu.registers.get32(insn.reg)));
  else store(insn, cpu, 2, swap32(cpu.registers.get16(insn.reg)) >>> 16);
  return Effect.None;
}

function swap64(value: bigint): bigint {
  swap.setBigUint64(0, value, true);
  return swap.getBigUint64(0, false);
}

function swap32(value: number): number {
  swap.setUint32(0, value, true);
  return swap.getUint32(0, false);
}
