import { loadBytes } from './access.ts';
import { markInUse, XFEATURE_SSE, XSAVE_XMM } from './control.ts';
import type { Instruction } from './instruction.ts';
import { checkSimd } from './mxcsr.ts';
import { Effect, type Execute } from './operation.ts';
import type { CpuContext } from './types.ts';

/** Bytes of an XMM register. */
export const VECTOR_SIZE = 16;

/** 16 bytes as lanes of every width, lowest first. */
export class Vector {
  readonly u8 = new Uint8Array(VECTOR_SIZE);
  readonly i8 = new Int8Array(this.u8.buffer);
  readonly u16 = new Uint16Array(this.u8.buffer);
  readonly i16 = new Int16Array(this.u8.buffer);
  readonly u32 = new Uint32Array(this.u8.buffer);
  readonly i32 = new Int32Array(this.u8.buffer);
  readonly u64 = new BigUint64Array(this.u8.buffer);
  readonly i64 = new BigInt64Array(this.u8.buffer);

  copy(from: Vector): void {
    this.u8.set(from.u8);
  }
}

/**
 * What an instruction does with its two operands: leaves the result in `destination`.
 * @param immediate unsigned; 0 where the instruction has none
 */
export type VectorOperation = (destination: Vector, source: Vector, immediate: number) => void;

const destination = new Vector();
const source = new Vector();

/** Reads an XMM register. */
export function readXmm(cpu: CpuContext, number: number, into: Vector): void {
  const { image } = cpu.extendedState();
  const at = XSAVE_XMM + number * VECTOR_SIZE;
  for (let i = 0; i < VECTOR_SIZE; i++) into.u8[i] = image[at + i]!;
}

/** Writes an XMM register; what AVX has above it stays. @returns the effect to report */
export function writeXmm(cpu: CpuContext, number: number, from: Vector): number {
  const state = cpu.extendedState();
  state.image.set(from.u8, XSAVE_XMM + number * VECTOR_SIZE);
  markInUse(state, XFEATURE_SSE);
  return Effect.ExtendedState;
}

/**
 * Reads the ModRM.rm operand.
 * @param size of a memory operand: 16, or less with the rest of the vector 0; a register gives all its bytes
 * @param aligned whether a memory operand must be a multiple of its size: #GP(0)
 */
export function readXmmOrMemory(
  insn: Instruction,
  cpu: CpuContext,
  into: Vector,
  size: number,
  aligned: boolean,
): void {
  if (!insn.isMemory) {
    readXmm(cpu, insn.rm, into);
    return;
  }
  into.u64.fill(0n);
  loadBytes(insn, cpu, size === VECTOR_SIZE ? into.u8 : into.u8.subarray(0, size), aligned);
}

/** An instruction `op xmm, xmm/m128`: the register is source and destination. */
export function binary(operation: VectorOperation): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    readXmmOrMemory(insn, cpu, source, VECTOR_SIZE, true);
    readXmm(cpu, insn.reg, destination);
    operation(destination, source, insn.immediate);
    return writeXmm(cpu, insn.reg, destination);
  };
}

/** An instruction that makes the register from a source of `size` bytes in memory (unaligned below 16), or from a register. */
export function convert(size: number, operation: VectorOperation): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    readXmmOrMemory(insn, cpu, source, size, size === VECTOR_SIZE);
    operation(destination, source, insn.immediate);
    return writeXmm(cpu, insn.reg, destination);
  };
}
