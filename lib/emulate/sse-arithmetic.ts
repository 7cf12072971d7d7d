import { OpcodeMap, Prefix } from './instruction.ts';
import type { OperationTable } from './operation.ts';
import { binary, Vector, type VectorOperation } from './vector.ts';

const result = new Vector();

/**
 * SSE2, SSSE3 and SSE4.1 integer arithmetic, comparisons and logic on XMM registers (Intel SDM vol. 2, each under its name):
 * what kernels use for checksums, parity and hashing. The MMX forms are not here.
 */
export function addVectorArithmetic(table: OperationTable): void {
  for (const [opcode, operation] of TWO_BYTE) {
    table.add(OpcodeMap.TwoByte, Prefix.OperandSize, opcode, binary(operation));
  }
  for (const [opcode, operation] of THREE_BYTE) {
    table.add(OpcodeMap.ThreeByte38, Prefix.OperandSize, opcode, binary(operation));
  }
  // On whole registers it does not matter whether lanes are integers or floating-point numbers.
  for (const prefix of [Prefix.None, Prefix.OperandSize]) {
    for (const [opcode, operation] of LOGIC) table.add(OpcodeMap.TwoByte, prefix, opcode, binary(operation));
  }
}

function bytes(lane: (a: number, b: number) => number): VectorOperation {
  return ({ u8 }, source) => {
    for (let i = 0; i < 16; i++) u8[i] = lane(u8[i]!, source.u8[i]!);
  };
}

function signedBytes(lane: (a: number, b: number) => number): VectorOperation {
  return ({ i8 }, source) => {
    for (let i = 0; i < 16; i++) i8[i] = lane(i8[i]!, source.i8[i]!);
  };
}

function words(lane: (a: number, b: number) => number): VectorOperation {
  return ({ u16 }, source) => {
    for (let i = 0; i < 8; i++) u16[i] = lane(u16[i]!, source.u16[i]!);
  };
}

function signedWords(lane: (a: number, b: number) => number): VectorOperation {
  return ({ i16 }, source) => {
    for (let i = 0; i < 8; i++) i16[i] = lane(i16[i]!, source.i16[i]!);
  };
}

function doublewords(lane: (a: number, b: number) => number): VectorOperation {
  return ({ u32 }, source) => {
    for (let i = 0; i < 4; i++) u32[i] = lane(u32[i]!, source.u32[i]!);
  };
}

function signedDoublewords(lane: (a: number, b: number) => number): VectorOperation {
  return ({ i32 }, source) => {
    for (let i = 0; i < 4; i++) i32[i] = lane(i32[i]!, source.i32[i]!);
  };
}

function quadwords(lane: (a: bigint, b: bigint) => bigint): VectorOperation {
  return ({ u64 }, source) => {
    for (let i = 0; i < 2; i++) u64[i] = lane(u64[i]!, source.u64[i]!);
  };
}

/** Combines neighbours: first those of the destination, then those of the source. */
function horizontalWords(lane: (a: number, b: number) => number): VectorOperation {
  return (destination, source) => {
    for (let i = 0; i < 4; i++) {
      result.i16[i] = lane(destination.i16[i * 2]!, destination.i16[i * 2 + 1]!);
      result.i16[i + 4] = lane(source.i16[i * 2]!, source.i16[i * 2 + 1]!);
    }
    destination.copy(result);
  };
}

function horizontalDoublewords(lane: (a: number, b: number) => number): VectorOperation {
  return (destination, source) => {
    for (let i = 0; i < 2; i++) {
      result.i32[i] = lane(destination.i32[i * 2]!, destination.i32[i * 2 + 1]!);
      result.i32[i + 2] = lane(source.i32[i * 2]!, source.i32[i * 2 + 1]!);
    }
    destination.copy(result);
  };
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

export function toInt16(value: number): number {
  return clamp(value, -0x8000, 0x7fff);
}

export function toInt8(value: number): number {
  return clamp(value, -0x80, 0x7f);
}

export function toUint16(value: number): number {
  return clamp(value, 0, 0xffff);
}

export function toUint8(value: number): number {
  return clamp(value, 0, 0xff);
}

const sum = (a: number, b: number) => a + b;
const difference = (a: number, b: number) => a - b;
const larger = (a: number, b: number) => Math.max(a, b);
const smaller = (a: number, b: number) => Math.min(a, b);
const isEqual = (a: number, b: number) => (a === b ? -1 : 0);
const isGreater = (a: number, b: number) => (a > b ? -1 : 0);
const average = (a: number, b: number) => (a + b + 1) >> 1;
const magnitude = (_: number, b: number) => (b < 0 ? -b : b);
const withSign = (a: number, b: number) => (b < 0 ? -a : b === 0 ? 0 : a);

/** The low doubleword of each quadword, multiplied. */
const multiplyEven: VectorOperation = (destination, source) => {
  destination.u64[0] = BigInt(destination.u32[0]!) * BigInt(source.u32[0]!);
  destination.u64[1] = BigInt(destination.u32[2]!) * BigInt(source.u32[2]!);
};

const multiplyEvenSigned: VectorOperation = (destination, source) => {
  destination.i64[0] = BigInt(destination.i32[0]!) * BigInt(source.i32[0]!);
  destination.i64[1] = BigInt(destination.i32[2]!) * BigInt(source.i32[2]!);
};

/** Products of signed words, added in pairs. */
const multiplyAdd: VectorOperation = (destination, source) => {
  for (let i = 0; i < 4; i++) {
    const low = destination.i16[i * 2]! * source.i16[i * 2]!;
    result.i32[i] = low + destination.i16[i * 2 + 1]! * source.i16[i * 2 + 1]!;
  }
  destination.copy(result);
};

/** Products of unsigned bytes (destination) and signed ones (source), added in pairs, saturated. */
const multiplyAddBytes: VectorOperation = (destination, source) => {
  for (let i = 0; i < 8; i++) {
    const low = destination.u8[i * 2]! * source.i8[i * 2]!;
    result.i16[i] = toInt16(low + destination.u8[i * 2 + 1]! * source.i8[i * 2 + 1]!);
  }
  destination.copy(result);
};

/** Sums of absolute differences of bytes, one for each half. */
const sumDifferences: VectorOperation = (destination, source) => {
  for (let half = 0; half < 2; half++) {
    let total = 0;
    for (let i = half * 8; i < half * 8 + 8; i++) total += Math.abs(destination.u8[i]! - source.u8[i]!);
    destination.u64[half] = BigInt(total);
  }
};

/** The smallest word, and which it is. */
const minimumPosition: VectorOperation = (destination, source) => {
  let at = 0;
  for (let i = 1; i < 8; i++) if (source.u16[i]! < source.u16[at]!) at = i;
  destination.u64[1] = 0n;
  destination.u64[0] = BigInt(source.u16[at]! | (at << 16));
};

const TWO_BYTE: readonly (readonly [number, VectorOperation])[] = [
  [0xfc, bytes(sum)], // paddb
  [0xfd, words(sum)], // paddw
  [0xfe, doublewords(sum)], // paddd
  [0xd4, quadwords((a, b) => a + b)], // paddq
  [0xf8, bytes(difference)], // psubb
  [0xf9, words(difference)], // psubw
  [0xfa, doublewords(difference)], // psubd
  [0xfb, quadwords((a, b) => a - b)], // psubq
  [0xdc, bytes((a, b) => toUint8(a + b))], // paddusb
  [0xdd, words((a, b) => toUint16(a + b))], // paddusw
  [0xec, signedBytes((a, b) => toInt8(a + b))], // paddsb
  [0xed, signedWords((a, b) => toInt16(a + b))], // paddsw
  [0xd8, bytes((a, b) => toUint8(a - b))], // psubusb
  [0xd9, words((a, b) => toUint16(a - b))], // psubusw
  [0xe8, signedBytes((a, b) => toInt8(a - b))], // psubsb
  [0xe9, signedWords((a, b) => toInt16(a - b))], // psubsw
  [0xd5, words((a, b) => Math.imul(a, b))], // pmullw
  [0xe4, words((a, b) => (a * b) / 0x10000)], // pmulhuw
  [0xe5, signedWords((a, b) => (a * b) >> 16)], // pmulhw
  [0xf4, multiplyEven], // pmuludq
  [0xf5, multiplyAdd], // pmaddwd
  [0xf6, sumDifferences], // psadbw
  [0xe0, bytes(average)], // pavgb
  [0xe3, words(average)], // pavgw
  [0xda, bytes(smaller)], // pminub
  [0xde, bytes(larger)], // pmaxub
  [0xea, signedWords(smaller)], // pminsw
  [0xee, signedWords(larger)], // pmaxsw
  [0x74, bytes(isEqual)], // pcmpeqb
  [0x75, words(isEqual)], // pcmpeqw
  [0x76, doublewords(isEqual)], // pcmpeqd
  [0x64, signedBytes(isGreater)], // pcmpgtb
  [0x65, signedWords(isGreater)], // pcmpgtw
  [0x66, signedDoublewords(isGreater)], // pcmpgtd
  [0xdb, quadwords((a, b) => a & b)], // pand
  [0xdf, quadwords((a, b) => ~a & b)], // pandn
  [0xeb, quadwords((a, b) => a | b)], // por
  [0xef, quadwords((a, b) => a ^ b)], // pxor
];

const THREE_BYTE: readonly (readonly [number, VectorOperation])[] = [
  [0x01, horizontalWords(sum)], // phaddw
  [0x02, horizontalDoublewords(sum)], // phaddd
  [0x03, horizontalWords((a, b) => toInt16(a + b))], // phaddsw
  [0x04, multiplyAddBytes], // pmaddubsw
  [0x05, horizontalWords(difference)], // phsubw
  [0x06, horizontalDoublewords(difference)], // phsubd
  [0x07, horizontalWords((a, b) => toInt16(a - b))], // phsubsw
  [0x08, signedBytes(withSign)], // psignb
  [0x09, signedWords(withSign)], // psignw
  [0x0a, signedDoublewords(withSign)], // psignd
  [0x0b, signedWords((a, b) => (a * b + 0x4000) >> 15)], // pmulhrsw
  [0x1c, signedBytes(magnitude)], // pabsb
  [0x1d, signedWords(magnitude)], // pabsw
  [0x1e, signedDoublewords(magnitude)], // pabsd
  [0x28, multiplyEvenSigned], // pmuldq
  [0x29, quadwords((a, b) => (a === b ? -1n : 0n))], // pcmpeqq
  [0x37, quadwords((a, b) => (BigInt.asIntN(64, a) > BigInt.asIntN(64, b) ? -1n : 0n))], // pcmpgtq
  [0x38, signedBytes(smaller)], // pminsb
  [0x39, signedDoublewords(smaller)], // pminsd
  [0x3a, words(smaller)], // pminuw
  [0x3b, doublewords(smaller)], // pminud
  [0x3c, signedBytes(larger)], // pmaxsb
  [0x3d, signedDoublewords(larger)], // pmaxsd
  [0x3e, words(larger)], // pmaxuw
  [0x3f, doublewords(larger)], // pmaxud
  [0x40, doublewords((a, b) => Math.imul(a, b))], // pmulld
  [0x41, minimumPosition], // phminposuw
];

const LOGIC: readonly (readonly [number, VectorOperation])[] = [
  [0x54, quadwords((a, b) => a & b)], // andps, andpd
  [0x55, quadwords((a, b) => ~a & b)], // andnps, andnpd
  [0x56, quadwords((a, b) => a | b)], // orps, orpd
  [0x57, quadwords((a, b) => a ^ b)], // xorps, xorpd
];
