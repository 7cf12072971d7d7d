import type { InstructionCase } from './native.ts';
import type { Random } from './random.ts';

/** An instruction to be encoded: everything but its operands. */
export interface Encoding {
  /** Mandatory prefix bytes, before REX. */
  readonly prefix?: readonly number[];
  /** Opcode bytes, escape bytes included; with `vex`, the last one only. */
  readonly opcode: readonly number[];
  /** VEX instead of legacy prefixes: opcode map (1: 0F, 2: 0F38, 3: 0F3A) and pp. */
  readonly vex?: { readonly map: number; readonly pp: number; readonly l?: number };
  /** REX.W or VEX.W. */
  readonly w?: boolean;
  readonly immediate?: readonly number[];
}

export interface Operands {
  readonly reg: number;
  /** VEX.vvvv. */
  readonly vvvv?: number;
  readonly rm: RegisterOperand | MemoryOperand;
}

export interface RegisterOperand {
  readonly register: number;
}

/** How a memory operand is written, found for an address by `memoryOperand`. */
export interface MemoryOperand {
  readonly mod: number;
  /** ModRM.rm, 0 to 7. */
  readonly rm: number;
  readonly sib: number | undefined;
  readonly displacement: readonly number[];
  readonly rexX: boolean;
  readonly rexB: boolean;
  /** Segment override and address size prefixes. */
  readonly prefixes: readonly number[];
  /** The displacement is relative to the next instruction: it still needs the address of that taken off. */
  readonly ripRelativeTarget: number | undefined;
}

/** @param address where the instruction is */
export function encode(encoding: Encoding, operands: Operands, address: number, mode: 32 | 64 = 64): Uint8Array {
  const { rm } = operands;
  const isMemory = 'mod' in rm;
  const rexR = operands.reg >= 8;
  const rexX = isMemory && rm.rexX;
  const rexB = isMemory ? rm.rexB : rm.register >= 8;
  const bytes: number[] = isMemory ? [...rm.prefixes] : [];
  if (encoding.vex) {
    const { map, pp, l = 0 } = encoding.vex;
    const last = ((~(operands.vvvv ?? 0) & 0xf) << 3) | (l << 2) | pp;
    if (map === 1 && !rexX && !rexB && !encoding.w) {
      bytes.push(0xc5, (rexR ? 0 : 0x80) | last);
    } else {
      bytes.push(0xc4, (rexR ? 0 : 0x80) | (rexX ? 0 : 0x40) | (rexB ? 0 : 0x20) | map, (encoding.w ? 0x80 : 0) | last);
    }
  } else {
    bytes.push(...(encoding.prefix ?? []));
    const rex = (encoding.w ? 8 : 0) | (rexR ? 4 : 0) | (rexX ? 2 : 0) | (rexB ? 1 : 0);
    if (mode === 64 && rex !== 0) bytes.push(0x40 | rex);
  }
  bytes.push(...encoding.opcode);
  const reg = (operands.reg & 7) << 3;
  const immediate = encoding.immediate ?? [];
  if (!isMemory) {
    bytes.push(0xc0 | reg | (rm.register & 7));
  } else {
    bytes.push((rm.mod << 6) | reg | rm.rm);
    if (rm.sib !== undefined) bytes.push(rm.sib);
    if (rm.ripRelativeTarget === undefined) bytes.push(...rm.displacement);
    else bytes.push(...littleEndian(rm.ripRelativeTarget - (address + bytes.length + 4 + immediate.length), 4));
  }
  bytes.push(...immediate);
  return Uint8Array.from(bytes);
}

/**
 * Finds a way to write a memory operand at `target`, and sets the registers and segment bases that it needs.
 * @param state is changed: base and index registers, and the base of the segment used
 */
export function memoryOperand(
  random: Random,
  target: number,
  state: { gpr: bigint[]; fsBase: bigint; gsBase: bigint },
  mode: 32 | 64 = 64,
): MemoryOperand {
  const registers = mode === 64 ? 16 : 8;
  const prefixes: number[] = [];
  let wanted = BigInt(target);
  if (mode === 64 && random.below(4) === 0) {
    const segment = random.pick([0x64, 0x65]);
    const offset = BigInt(random.below(0x10_0000));
    prefixes.push(segment);
    if (segment === 0x64) state.fsBase = wanted - offset;
    else state.gsBase = wanted - offset;
    wanted = offset;
  } else if (random.below(8) === 0) {
    prefixes.push(random.pick([0x26, 0x36, 0x3e, 0x2e]));
  }
  // 32-bit addresses in 64-bit mode: what base and index have above does not count.
  const narrow = mode === 64 && random.below(6) === 0;
  if (narrow) prefixes.push(0x67);
  if (prefixes.length > 1 && random.below(2) === 0) prefixes.reverse();
  const bits = narrow || mode === 32 ? 32 : 64;
  const plain = { sib: undefined, rexX: false, rexB: false, prefixes, ripRelativeTarget: undefined };
  const form = random.below(6);
  if (form === 0) {
    // Displacement only: with a SIB byte, or in 32-bit code without.
    const displacement = littleEndian(Number(wanted), 4);
    if (mode === 32 && random.below(2) === 0) return { ...plain, mod: 0, rm: 5, displacement };
    return { ...plain, mod: 0, rm: 4, sib: 0x25, displacement };
  }
  if (form === 1 && mode === 64) {
    return { ...plain, mod: 0, rm: 5, displacement: [], ripRelativeTarget: Number(wanted) };
  }
  const base = random.below(registers);
  let size = random.pick([0, 1, 4]);
  if (size === 0 && (base & 7) === 5) size = 1;
  const mod = size === 0 ? 0 : size === 1 ? 1 : 2;
  const displacement = size === 0 ? 0 : size === 1 ? random.below(256) - 128 : random.below(0x1000_0000) - 0x800_0000;
  const index = random.below(registers);
  const scale = random.below(4);
  const withIndex = (form >= 4 || (base & 7) === 4) && index !== 4;
  const garbage = bits === 32 && mode === 64 ? random.uniform64() << 32n : 0n;
  if (withIndex && index !== base) {
    const value = BigInt.asUintN(64, random.uniform64());
    state.gpr[index] = mode === 32 ? BigInt.asUintN(32, value) : value;
    const rest = wanted - BigInt(displacement) - (state.gpr[index]! << BigInt(scale));
    state.gpr[base] = BigInt.asUintN(64, BigInt.asUintN(bits, rest) | garbage);
  } else {
    state.gpr[base] = BigInt.asUintN(64, BigInt.asUintN(bits, wanted - BigInt(displacement)) | garbage);
  }
  const common = { ...plain, mod, displacement: littleEndian(displacement, size), rexB: base >= 8 };
  if (withIndex && index !== base) {
    return { ...common, rm: 4, sib: (scale << 6) | ((index & 7) << 3) | (base & 7), rexX: index >= 8 };
  }
  if ((base & 7) === 4 || form === 3) return { ...common, rm: 4, sib: 0x20 | (base & 7) };
  return { ...common, rm: base & 7 };
}

export function littleEndian(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => Number((BigInt(value) >> BigInt(i * 8)) & 0xffn));
}

/** The general state of a case: random operands, random arithmetic flags. */
export function randomState(random: Random, mode: 32 | 64 = 64) {
  const gpr = Array.from({ length: 16 }, () => random.operand());
  if (mode === 32) {
    // What 32-bit code cannot see need not survive it.
    for (let i = 0; i < 16; i++) gpr[i] = i < 8 ? BigInt.asUintN(32, gpr[i]!) : 0n;
  }
  return { gpr, fsBase: 0n, gsBase: 0n, rflags: 0x202 | (random.below(0x1000) & 0x8d5) };
}

export type CaseParts = Partial<InstructionCase> & { code: Uint8Array };

/** A case with what is not given left at rest. */
export function instructionCase(parts: CaseParts): InstructionCase {
  return {
    gpr: Array.from({ length: 16 }, () => 0n),
    rflags: 0x202,
    fsBase: 0n,
    gsBase: 0n,
    memoryAddress: 0x1010_0000,
    memory: new Uint8Array(0),
    fpu: new Uint8Array(0),
    compat: false,
    ...parts,
  };
}
