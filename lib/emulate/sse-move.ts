import { load64, store, store64, storeBytes } from './access.ts';
import { undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import { checkSimd } from './mxcsr.ts';
import { readRm, writeRegister } from './operands.ts';
import { Effect, type Execute, type OperationTable } from './operation.ts';
import type { CpuContext } from './types.ts';
import { convert, readXmm, readXmmOrMemory, VECTOR_SIZE, Vector, writeXmm } from './vector.ts';

const vector = new Vector();
const other = new Vector();

/** Moves between XMM registers, memory and general registers. Intel SDM vol. 2, each under its name. */
export function addVectorMoves(table: OperationTable): void {
  const { TwoByte, ThreeByte38 } = OpcodeMap;
  const add = (prefix: number, opcode: number, execute: Execute) => table.add(TwoByte, prefix, opcode, execute);
  for (const prefix of [Prefix.None, Prefix.OperandSize]) {
    add(prefix, 0x10, loadWhole(false)); // movups, movupd
    add(prefix, 0x11, storeWhole(false));
    add(prefix, 0x28, loadWhole(true)); // movaps, movapd
    add(prefix, 0x29, storeWhole(true));
    add(prefix, 0x2b, memoryOnly(storeWhole(true))); // movntps, movntpd
    add(prefix, 0x13, memoryOnly(storeHalf(0))); // movlps, movlpd
    add(prefix, 0x17, memoryOnly(storeHalf(1))); // movhps, movhpd
    add(prefix, 0x50, signMask(prefix === Prefix.None ? 4 : 8)); // movmskps, movmskpd
  }
  add(Prefix.OperandSize, 0x6f, loadWhole(true)); // movdqa
  add(Prefix.OperandSize, 0x7f, storeWhole(true));
  add(Prefix.F3, 0x6f, loadWhole(false)); // movdqu
  add(Prefix.F3, 0x7f, storeWhole(false));
  add(Prefix.F2, 0xf0, memoryOnly(loadWhole(false))); // lddqu
  add(Prefix.OperandSize, 0xe7, memoryOnly(storeWhole(true))); // movntdq
  table.add(ThreeByte38, Prefix.OperandSize, 0x2a, memoryOnly(loadWhole(true))); // movntdqa
  add(Prefix.None, 0x12, loadHalf(0, 1)); // movlps, movhlps
  add(Prefix.OperandSize, 0x12, memoryOnly(loadHalf(0, 0))); // movlpd
  add(Prefix.None, 0x16, loadHalf(1, 0)); // movhps, movlhps
  add(Prefix.OperandSize, 0x16, memoryOnly(loadHalf(1, 0))); // movhpd
  add(Prefix.F3, 0x10, loadScalar(4)); // movss
  add(Prefix.F3, 0x11, storeScalar(4));
  add(Prefix.F2, 0x10, loadScalar(8)); // movsd
  add(Prefix.F2, 0x11, storeScalar(8));
  add(Prefix.OperandSize, 0x6e, loadGeneral); // movd, movq
  add(Prefix.OperandSize, 0x7e, storeGeneral);
  add(Prefix.F3, 0x7e, loadQuadword); // movq
  add(Prefix.OperandSize, 0xd6, storeQuadword);
  add(Prefix.OperandSize, 0xd7, signMask(1)); // pmovmskb
  add(Prefix.None, 0xc3, memoryOnly(storeNonTemporal)); // movnti
  add(
    Prefix.F3,
    0x12,
    convert(VECTOR_SIZE, (to, from) => duplicate(to, from, 0)),
  ); // movsldup
  add(
    Prefix.F3,
    0x16,
    convert(VECTOR_SIZE, (to, from) => duplicate(to, from, 1)),
  ); // movshdup
  add(
    Prefix.F2,
    0x12,
    convert(8, (to, from) => to.u64.fill(from.u64[0]!)), // movddup
  );
}

function loadWhole(aligned: boolean): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    readXmmOrMemory(insn, cpu, vector, VECTOR_SIZE, aligned);
    return writeXmm(cpu, insn.reg, vector);
  };
}

function storeWhole(aligned: boolean): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    readXmm(cpu, insn.reg, vector);
    if (!insn.isMemory) return writeXmm(cpu, insn.rm, vector);
    storeBytes(insn, cpu, vector.u8, aligned);
    return Effect.None;
  };
}

/** Moves 8 bytes into one half of a register, from memory or from one half of another. */
function loadHalf(half: number, registerHalf: number): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    let value: bigint;
    if (insn.isMemory) {
      value = load64(insn, cpu);
    } else {
      readXmm(cpu, insn.rm, other);
      value = other.u64[registerHalf]!;
    }
    readXmm(cpu, insn.reg, vector);
    vector.u64[half] = value;
    return writeXmm(cpu, insn.reg, vector);
  };
}

function storeHalf(half: number): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    readXmm(cpu, insn.reg, vector);
    store64(insn, cpu, vector.u64[half]!);
    return Effect.None;
  };
}

/** `movss`, `movsd`: from memory the rest becomes 0, from a register it stays. */
function loadScalar(size: 4 | 8): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    readXmmOrMemory(insn, cpu, other, size, false);
    if (insn.isMemory) return writeXmm(cpu, insn.reg, other);
    return moveLow(cpu, insn.reg, size);
  };
}

function storeScalar(size: 4 | 8): Execute {
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    readXmm(cpu, insn.reg, other);
    if (!insn.isMemory) return moveLow(cpu, insn.rm, size);
    if (size === 8) store64(insn, cpu, other.u64[0]!);
    else store(insn, cpu, 4, other.u32[0]!);
    return Effect.None;
  };
}

/** Puts the lowest `size` bytes of `other` into a register. */
function moveLow(cpu: CpuContext, register: number, size: 4 | 8): number {
  readXmm(cpu, register, vector);
  for (let i = 0; i < size; i++) vector.u8[i] = other.u8[i]!;
  return writeXmm(cpu, register, vector);
}

function loadGeneral(insn: Instruction, cpu: CpuContext): number {
  checkSimd(insn, cpu);
  const value = readRm(insn, cpu, insn.rexW ? 8 : 4);
  vector.u64[0] = value;
  vector.u64[1] = 0n;
  return writeXmm(cpu, insn.reg, vector);
}

function storeGeneral(insn: Instruction, cpu: CpuContext): number {
  checkSimd(insn, cpu);
  readXmm(cpu, insn.reg, vector);
  if (!insn.isMemory) writeRegister(cpu, insn.rm, 8, insn.rexW ? vector.u64[0]! : BigInt(vector.u32[0]!));
  else if (insn.rexW) store64(insn, cpu, vector.u64[0]!);
  else store(insn, cpu, 4, vector.u32[0]!);
  return Effect.None;
}

function loadQuadword(insn: Instruction, cpu: CpuContext): number {
  checkSimd(insn, cpu);
  readXmmOrMemory(insn, cpu, vector, 8, false);
  vector.u64[1] = 0n;
  return writeXmm(cpu, insn.reg, vector);
}

function storeQuadword(insn: Instruction, cpu: CpuContext): number {
  checkSimd(insn, cpu);
  readXmm(cpu, insn.reg, vector);
  if (insn.isMemory) {
    store64(insn, cpu, vector.u64[0]!);
    return Effect.None;
  }
  vector.u64[1] = 0n;
  return writeXmm(cpu, insn.rm, vector);
}

/** The top bits of all lanes of `size` bytes, in a general register. */
function signMask(size: number): Execute {
  return (insn, cpu) => {
    if (insn.isMemory) undefinedOpcode();
    checkSimd(insn, cpu);
    readXmm(cpu, insn.rm, vector);
    let bits = 0;
    for (let i = 0; i < VECTOR_SIZE / size; i++) bits |= (vector.u8[i * size + size - 1]! >> 7) << i;
    cpu.registers.set32(insn.reg, bits);
    return Effect.None;
  };
}

/** `movnti` moves a general register, and asks for nothing that SSE instructions do. */
function storeNonTemporal(insn: Instruction, cpu: CpuContext): number {
  if (insn.rexW) store64(insn, cpu, cpu.registers.get64(insn.reg));
  else store(insn, cpu, 4, cpu.registers.get32(insn.reg));
  return Effect.None;
}

/** `movsldup`, `movshdup`: the even (0) or odd (1) lanes, twice each. */
function duplicate(to: Vector, from: Vector, odd: number): void {
  for (let i = 0; i < 4; i++) to.u32[i] = from.u32[(i & 2) | odd]!;
}

function memoryOnly(execute: Execute): Execute {
  return (insn, cpu) => (insn.isMemory ? execute(insn, cpu) : undefinedOpcode());
}
