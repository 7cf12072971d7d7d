/** No segment override. */
export const NO_SEGMENT = -1;

/** The most bytes that an instruction may have. Intel SDM vol. 2, §2.3.11. */
export const MAX_INSTRUCTION_LENGTH = 15;

/** Opcode maps, as keys of the operation table: those of legacy encodings, and those of VEX (map + `Vex`). */
export const OpcodeMap = { OneByte: 0, TwoByte: 1, ThreeByte38: 2, ThreeByte3A: 3, Vex: 4 } as const;

/** Mandatory prefixes, numbered as VEX.pp. Of several, F3 or F2 counts before 66. */
export const Prefix = { None: 0, OperandSize: 1, F3: 2, F2: 3 } as const;

/** One decoded instruction. The decoder fills the same object again and again. */
export class Instruction {
  /** The bytes as far as they were fetched; `length` of them belong to the instruction. */
  readonly bytes = new Uint8Array(MAX_INSTRUCTION_LENGTH);
  /** How many of `bytes` are valid. */
  available = 0;
  length = 0;
  /** Bits of the code segment: 16, 32 or 64. */
  mode = 64;

  lock = false;
  /** Whether there is a REX prefix (or the bits of one, in VEX). */
  rex = false;
  rexW = false;
  rexR = 0;
  rexX = 0;
  rexB = 0;
  operandSizeOverride = false;
  addressSizeOverride = false;
  /** 0xF3, 0xF2 or 0: the last such prefix. */
  repeat = 0;
  /** One of `SegmentRegister`, or `NO_SEGMENT`. */
  segmentOverride: number = NO_SEGMENT;

  vex = false;
  vexL = 0;
  /** The register in VEX.vvvv. */
  vexRegister = 0;

  map = 0;
  opcode = 0;
  /** One of `Prefix`. */
  prefix = 0;
  /** Bytes: 2, 4 or 8. */
  operandSize = 4;
  /** Bytes: 2, 4 or 8. */
  addressSize = 8;

  mod = 0;
  /** ModRM.reg with REX.R; `reg & 7` is the opcode extension. */
  reg = 0;
  /** ModRM.rm with REX.B, where `mod` is 3: a register. */
  rm = 0;
  /** Numbers of the base and index registers of a memory operand, or -1. */
  base = -1;
  index = -1;
  /** log2 of the index's factor. */
  scale = 0;
  /** Signed. */
  displacement = 0;
  ripRelative = false;
  /** The immediate operand, unsigned. */
  immediate = 0;

  get isMemory(): boolean {
    return this.mod !== 3;
  }
}
