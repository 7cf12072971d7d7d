import { load, load64 } from './access.ts';
import type { Instruction } from './instruction.ts';
import type { CpuContext } from './types.ts';

/** Reads the ModRM.rm operand, register or memory. @param size bytes: 1, 2, 4 or 8 @returns it, unsigned */
export function readRm(insn: Instruction, cpu: CpuContext, size: number): bigint {
  if (!insn.isMemory) return readRegister(insn, cpu, insn.rm, size);
  return size === 8 ? load64(insn, cpu) : BigInt(load(insn, cpu, size));
}

/** Reads a general register. @param size bytes: 1, 2, 4 or 8 @returns it, unsigned */
export function readRegister(insn: Instruction, cpu: CpuContext, number: number, size: number): bigint {
  const { registers } = cpu;
  switch (size) {
    case 8:
      return registers.get64(number);
    case 4:
      return BigInt(registers.get32(number));
    case 2:
      return BigInt(registers.get16(number));
    default:
      return BigInt(registers.get8(number, insn.rex));
  }
}

/** Writes a general register: 2 bytes leave the rest of it, 4 bytes clear the upper half. @param value fits `size` */
export function writeRegister(cpu: CpuContext, number: number, size: number, value: bigint): void {
  if (size === 2) cpu.registers.set16(number, Number(value));
  else cpu.registers.set64(number, value);
}
