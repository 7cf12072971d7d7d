import { load, load64, store, store64 } from './access.ts';
import { undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import { checkSimd } from './mxcsr.ts';
import { readRegister, writeRegister } from './operands.ts';
import { Effect, type Execute, type OperationTable } from './operation.ts';
import type { CpuContext } from './types.ts';
import { readXmm, VECTOR_SIZE, Vector, writeXmm } from './vector.ts';

const vector = new Vector();

/** `pinsr*`, `pextr*`, `extractps`: single lanes to and from general registers and memory. Intel SDM vol. 2, PINSRB and so on. */
export function addVectorElements(table: OperationTable): void {
  const { TwoByte, ThreeByte3A } = OpcodeMap;
  const immediate = { immediate: 1 } as const;
  table.add(TwoByte, Prefix.OperandSize, 0xc4, insert(2), immediate);
  table.add(TwoByte, Prefix.OperandSize, 0xc5, extractWord, immediate);
  table.add(ThreeByte3A, Prefix.OperandSize, 0x14, extract(1), immediate);
  table.add(ThreeByte3A, Prefix.OperandSize, 0x15, extract(2), immediate);
  table.add(ThreeByte3A, Prefix.OperandSize, 0x16, byWidth(extract(4), extract(8)), immediate);
  table.add(ThreeByte3A, Prefix.OperandSize, 0x17, extract(4), immediate);
  table.add(ThreeByte3A, Prefix.OperandSize, 0x20, insert(1), immediate);
  table.add(ThreeByte3A, Prefix.OperandSize, 0x22, byWidth(insert(4), insert(8)), immediate);
}

function byWidth(narrow: Execute, wide: Execute): Execute {
  return (insn, cpu) => (insn.rexW ? wide(insn, cpu) : narrow(insn, cpu));
}

function insert(size: 1 | 2 | 4 | 8): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    const value = loadElement(insn, cpu, size);
    readXmm(cpu, insn.reg, vector);
    writeLane(size, insn.immediate, value);
    return writeXmm(cpu, insn.reg, vector);
  };
}

/** The lane goes to ModRM.rm, zero-extended in a register. */
function extract(size: 1 | 2 | 4 | 8): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    readXmm(cpu, insn.reg, vector);
    const value = readLane(size, insn.immediate);
    if (!insn.isMemory) writeRegister(cpu, insn.rm, 8, value);
    else if (size === 8) store64(insn, cpu, value);
    else store(insn, cpu, size, Number(value));
    return Effect.None;
  };
}

/** `pextrw` of SSE2: the general register is ModRM.reg. */
function extractWord(insn: Instruction, cpu: CpuContext): number {
  if (insn.isMemory) undefinedOpcode();
  checkSimd(insn, cpu);
  readXmm(cpu, insn.rm, vector);
  writeRegister(cpu, insn.reg, 8, readLane(2, insn.immediate));
  return Effect.None;
}

/** An element in memory, or in the low bits of a general register. */
function loadElement(insn: Instruction, cpu: CpuContext, size: number): bigint {
  if (!insn.isMemory) return readRegister(insn, cpu, insn.rm, 8);
  return size === 8 ? load64(insn, cpu) : BigInt(load(insn, cpu, size));
}

/** Reads the lane that the immediate's low bits choose. */
function readLane(size: number, immediate: number): bigint {
  const at = immediate & (VECTOR_SIZE / size - 1);
  if (size === 8) return vector.u64[at]!;
  return BigInt(size === 4 ? vector.u32[at]! : size === 2 ? vector.u16[at]! : vector.u8[at]!);
}

/** Writes it; higher bits of the value are dropped. */
function writeLane(size: number, immediate: number, value: bigint): void {
  const at = (immediate & (VECTOR_SIZE / size - 1)) * size;
  for (let i = 0; i < size; i++) vector.u8[at + i] = Number((value >> BigInt(i * 8)) & 0xffn);
}
