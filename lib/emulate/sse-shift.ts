import { undefinedOpcode } from './faults.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import { checkSimd } from './mxcsr.ts';
import type { Execute, OperationTable } from './operation.ts';
import { binary, readXmm, Vector, writeXmm } from './vector.ts';

/** Shifts each lane of a vector by the same count, which may be larger than a lane. */
type Shift = (vector: Vector, count: number) => void;

const vector = new Vector();

/** `psll`, `psrl`, `psra` and the byte shifts. Intel SDM vol. 2, PSLLW/PSLLD/PSLLQ and so on. */
export function addVectorShifts(table: OperationTable): void {
  for (const [opcode, shift] of BY_VECTOR) {
    const execute = binary((destination, source) => shift(destination, clampCount(source.u64[0]!)));
    table.add(OpcodeMap.TwoByte, Prefix.OperandSize, opcode, execute);
  }
  for (const [opcode, group] of BY_IMMEDIATE) {
    table.add(OpcodeMap.TwoByte, Prefix.OperandSize, opcode, immediateGroup(group), { immediate: 1 });
  }
}

/** Groups 12 to 14: ModRM.reg says which shift, ModRM.rm is the register. */
function immediateGroup(group: Readonly<Record<number, Shift>>): Execute {
  return (insn, cpu) => {
    const shift = group[insn.reg & 7];
    if (insn.isMemory || shift === undefined) undefinedOpcode();
    checkSimd(insn, cpu);
    readXmm(cpu, insn.rm, vector);
    shift(vector, insn.immediate);
    return writeXmm(cpu, insn.rm, vector);
  };
}

/** A count of 64 bits as a number: whatever is more than any lane has is alike. */
function clampCount(count: bigint): number {
  return count > 255n ? 255 : Number(count);
}

const shiftLeftWords: Shift = ({ u16 }, count) => {
  for (let i = 0; i < 8; i++) u16[i] = count > 15 ? 0 : u16[i]! << count;
};
const shiftLeftDoublewords: Shift = ({ u32 }, count) => {
  for (let i = 0; i < 4; i++) u32[i] = count > 31 ? 0 : u32[i]! << count;
};
const shiftLeftQuadwords: Shift = ({ u64 }, count) => {
  for (let i = 0; i < 2; i++) u64[i]! <<= BigInt(count);
};
const shiftRightWords: Shift = ({ u16 }, count) => {
  for (let i = 0; i < 8; i++) u16[i] = count > 15 ? 0 : u16[i]! >>> count;
};
const shiftRightDoublewords: Shift = ({ u32 }, count) => {
  for (let i = 0; i < 4; i++) u32[i] = count > 31 ? 0 : u32[i]! >>> count;
};
const shiftRightQuadwords: Shift = ({ u64 }, count) => {
  for (let i = 0; i < 2; i++) u64[i]! >>= BigInt(count);
};
const shiftSignedWords: Shift = ({ i16 }, count) => {
  for (let i = 0; i < 8; i++) i16[i]! >>= Math.min(count, 15);
};
const shiftSignedDoublewords: Shift = ({ i32 }, count) => {
  for (let i = 0; i < 4; i++) i32[i]! >>= Math.min(count, 31);
};
const shiftRightBytes: Shift = ({ u8 }, count) => {
  for (let i = 0; i < 16; i++) u8[i] = i + count < 16 ? u8[i + count]! : 0;
};
const shiftLeftBytes: Shift = ({ u8 }, count) => {
  for (let i = 15; i >= 0; i--) u8[i] = i - count >= 0 ? u8[i - count]! : 0;
};

const BY_VECTOR: readonly (readonly [number, Shift])[] = [
  [0xf1, shiftLeftWords],
  [0xf2, shiftLeftDoublewords],
  [0xf3, shiftLeftQuadwords],
  [0xd1, shiftRightWords],
  [0xd2, shiftRightDoublewords],
  [0xd3, shiftRightQuadwords],
  [0xe1, shiftSignedWords],
  [0xe2, shiftSignedDoublewords],
];

const BY_IMMEDIATE: readonly (readonly [number, Readonly<Record<number, Shift>>])[] = [
  [0x71, { 2: shiftRightWords, 4: shiftSignedWords, 6: shiftLeftWords }],
  [0x72, { 2: shiftRightDoublewords, 4: shiftSignedDoublewords, 6: shiftLeftDoublewords }],
  [0x73, { 2: shiftRightQuadwords, 3: shiftRightBytes, 6: shiftLeftQuadwords, 7: shiftLeftBytes }],
];
