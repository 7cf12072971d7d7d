import { OpcodeMap, Prefix } from './instruction.ts';
import { checkSimd } from './mxcsr.ts';
import { Effect, type Execute, type OperationTable } from './operation.ts';
import { ARITHMETIC_FLAGS, Flag } from './registers.ts';
import { toInt8, toInt16, toUint8, toUint16 } from './sse-arithmetic.ts';
import { binary, convert, readXmm, readXmmOrMemory, VECTOR_SIZE, Vector, type VectorOperation } from './vector.ts';

const result = new Vector();
const mask = new Vector();

/** Shuffles, packs, unpacks, blends, widenings and `ptest`. Intel SDM vol. 2, each under its name. */
export function addVectorShuffles(table: OperationTable): void {
  const { TwoByte, ThreeByte38, ThreeByte3A } = OpcodeMap;
  const immediate = { immediate: 1 } as const;
  for (const [opcode, operation] of PACKS) table.add(TwoByte, Prefix.OperandSize, opcode, binary(operation));
  table.add(ThreeByte38, Prefix.OperandSize, 0x00, binary(shuffleBytes));
  table.add(ThreeByte38, Prefix.OperandSize, 0x2b, binary(packUnsignedDoublewords));
  table.add(TwoByte, Prefix.OperandSize, 0x70, convert(VECTOR_SIZE, shuffleDoublewords), immediate);
  table.add(TwoByte, Prefix.F2, 0x70, convert(VECTOR_SIZE, shuffleLowWords), immediate);
  table.add(TwoByte, Prefix.F3, 0x70, convert(VECTOR_SIZE, shuffleHighWords), immediate);
  table.add(TwoByte, Prefix.None, 0xc6, binary(shuffleTwoDoublewords), immediate);
  table.add(TwoByte, Prefix.OperandSize, 0xc6, binary(shuffleTwoQuadwords), immediate);
  // unpcklps, unpcklpd, unpckhps, unpckhpd
  table.add(TwoByte, Prefix.None, 0x14, binary(unpack(4, 0)));
  table.add(TwoByte, Prefix.OperandSize, 0x14, binary(unpack(8, 0)));
  table.add(TwoByte, Prefix.None, 0x15, binary(unpack(4, 8)));
  table.add(TwoByte, Prefix.OperandSize, 0x15, binary(unpack(8, 8)));
  table.add(ThreeByte3A, Prefix.OperandSize, 0x0c, binary(blend(4)), immediate);
  table.add(ThreeByte3A, Prefix.OperandSize, 0x0d, binary(blend(8)), immediate);
  table.add(ThreeByte3A, Prefix.OperandSize, 0x0e, binary(blend(2)), immediate);
  table.add(ThreeByte3A, Prefix.OperandSize, 0x0f, binary(alignRight), immediate);
  table.add(ThreeByte38, Prefix.OperandSize, 0x10, blendVariable(1));
  table.add(ThreeByte38, Prefix.OperandSize, 0x14, blendVariable(4));
  table.add(ThreeByte38, Prefix.OperandSize, 0x15, blendVariable(8));
  table.add(ThreeByte38, Prefix.OperandSize, 0x17, ptest);
  for (const [opcode, from, to] of WIDENINGS) {
    const size = (VECTOR_SIZE / to) * from;
    table.add(ThreeByte38, Prefix.OperandSize, 0x20 + opcode, convert(size, widen(from, to, true)));
    table.add(ThreeByte38, Prefix.OperandSize, 0x30 + opcode, convert(size, widen(from, to, false)));
  }
}

/** Interleaves lanes of `size` bytes, from byte `start` (0: the low half, 8: the high half) of both. */
function unpack(size: number, start: number): VectorOperation {
  return (destination, source) => {
    for (let i = 0; i < 8; i++) {
      const at = Math.floor(i / size) * size * 2 + (i % size);
      result.u8[at] = destination.u8[start + i]!;
      result.u8[at + size] = source.u8[start + i]!;
    }
    destination.copy(result);
  };
}

const packSignedWords: VectorOperation = (destination, source) => {
  for (let i = 0; i < 8; i++) {
    result.i8[i] = toInt8(destination.i16[i]!);
    result.i8[i + 8] = toInt8(source.i16[i]!);
  }
  destination.copy(result);
};

const packUnsignedWords: VectorOperation = (destination, source) => {
  for (let i = 0; i < 8; i++) {
    result.u8[i] = toUint8(destination.i16[i]!);
    result.u8[i + 8] = toUint8(source.i16[i]!);
  }
  destination.copy(result);
};

const packSignedDoublewords: VectorOperation = (destination, source) => {
  for (let i = 0; i < 4; i++) {
    result.i16[i] = toInt16(destination.i32[i]!);
    result.i16[i + 4] = toInt16(source.i32[i]!);
  }
  destination.copy(result);
};

const packUnsignedDoublewords: VectorOperation = (destination, source) => {
  for (let i = 0; i < 4; i++) {
    result.u16[i] = toUint16(destination.i32[i]!);
    result.u16[i + 4] = toUint16(source.i32[i]!);
  }
  destination.copy(result);
};

const shuffleBytes: VectorOperation = (destination, source) => {
  for (let i = 0; i < 16; i++) {
    const from = source.u8[i]!;
    result.u8[i] = from & 0x80 ? 0 : destination.u8[from & 15]!;
  }
  destination.copy(result);
};

const shuffleDoublewords: VectorOperation = (destination, source, immediate) => {
  for (let i = 0; i < 4; i++) destination.u32[i] = source.u32[(immediate >> (i * 2)) & 3]!;
};

const shuffleLowWords: VectorOperation = (destination, source, immediate) => {
  for (let i = 0; i < 4; i++) destination.u16[i] = source.u16[(immediate >> (i * 2)) & 3]!;
  destination.u64[1] = source.u64[1]!;
};

const shuffleHighWords: VectorOperation = (destination, source, immediate) => {
  destination.u64[0] = source.u64[0]!;
  for (let i = 0; i < 4; i++) destination.u16[4 + i] = source.u16[4 + ((immediate >> (i * 2)) & 3)]!;
};

/** `shufps`: two lanes of the destination, then two of the source. */
const shuffleTwoDoublewords: VectorOperation = (destination, source, immediate) => {
  for (let i = 0; i < 4; i++) {
    const from = i < 2 ? destination : source;
    result.u32[i] = from.u32[(immediate >> (i * 2)) & 3]!;
  }
  destination.copy(result);
};

/** `shufpd` */
const shuffleTwoQuadwords: VectorOperation = (destination, source, immediate) => {
  result.u64[0] = destination.u64[immediate & 1]!;
  result.u64[1] = source.u64[(immediate >> 1) & 1]!;
  destination.copy(result);
};

/** `palignr`: bytes from `immediate` on of the destination and source put together, source first. */
const alignRight: VectorOperation = (destination, source, immediate) => {
  for (let i = 0; i < 16; i++) {
    const at = i + immediate;
    result.u8[i] = at < 16 ? source.u8[at]! : at < 32 ? destination.u8[at - 16]! : 0;
  }
  destination.copy(result);
};

/** Takes the lanes of `size` bytes whose bit in the immediate is set from the source. */
function blend(size: number): VectorOperation {
  return (destination, source, immediate) => {
    for (let i = 0; i < 16; i++) {
      if ((immediate >> Math.floor(i / size)) & 1) destination.u8[i] = source.u8[i]!;
    }
  };
}

/** Takes the lanes whose top bit in XMM0 is set from the source. */
function blendVariable(size: number): Execute {
  const operation = binary((destination, source) => {
    for (let i = 0; i < 16; i++) {
      const top = Math.floor(i / size) * size + size - 1;
      if (mask.u8[top]! & 0x80) destination.u8[i] = source.u8[i]!;
    }
  });
  return (insn, cpu) => {
    checkSimd(insn, cpu);
    readXmm(cpu, 0, mask);
    return operation(insn, cpu);
  };
}

const ptest: Execute = (insn, cpu) => {
  checkSimd(insn, cpu);
  readXmmOrMemory(insn, cpu, mask, VECTOR_SIZE, true);
  readXmm(cpu, insn.reg, result);
  const both = (mask.u64[0]! & result.u64[0]!) | (mask.u64[1]! & result.u64[1]!);
  const without = (mask.u64[0]! & ~result.u64[0]!) | (mask.u64[1]! & ~result.u64[1]!);
  cpu.registers.changeFlags(ARITHMETIC_FLAGS, (both === 0n ? Flag.ZF : 0) | (without === 0n ? Flag.CF : 0));
  return Effect.None;
};

/** `pmovsx` and `pmovzx`: lanes of `from` bytes become lanes of `to`. */
function widen(from: number, to: number, signed: boolean): VectorOperation {
  return (destination, source) => {
    for (let i = 0; i < VECTOR_SIZE / to; i++) {
      const fill = signed && source.u8[i * from + from - 1]! & 0x80 ? 0xff : 0;
      for (let byte = 0; byte < to; byte++) {
        result.u8[i * to + byte] = byte < from ? source.u8[i * from + byte]! : fill;
      }
    }
    destination.copy(result);
  };
}

const PACKS: readonly (readonly [number, VectorOperation])[] = [
  [0x60, unpack(1, 0)], // punpcklbw
  [0x61, unpack(2, 0)], // punpcklwd
  [0x62, unpack(4, 0)], // punpckldq
  [0x6c, unpack(8, 0)], // punpcklqdq
  [0x68, unpack(1, 8)], // punpckhbw
  [0x69, unpack(2, 8)], // punpckhwd
  [0x6a, unpack(4, 8)], // punpckhdq
  [0x6d, unpack(8, 8)], // punpckhqdq
  [0x63, packSignedWords], // packsswb
  [0x67, packUnsignedWords], // packuswb
  [0x6b, packSignedDoublewords], // packssdw
];

/** Low digit of the opcode, bytes of a lane before and after. */
const WIDENINGS = [
  [0, 1, 2],
  [1, 1, 4],
  [2, 1, 8],
  [3, 2, 4],
  [4, 2, 8],
  [5, 4, 8],
] as const;
