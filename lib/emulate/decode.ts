import { PageAccess } from '../memory/page-walk.ts';
import { accessRights, translatePage } from './access.ts';
import { codeAddress } from './address.ts';
import { generalProtection, Unsupported, undefinedOpcode } from './faults.ts';
import { type Instruction, MAX_INSTRUCTION_LENGTH, NO_SEGMENT, OpcodeMap, Prefix } from './instruction.ts';
import { codeBits, isRealMode } from './mode.ts';
import type { Operation, OperationTable } from './operation.ts';
import { type CpuContext, SegmentRegister } from './types.ts';

const PAGE_SIZE = 4096;
/** Base and index of 16-bit addresses by ModRM.rm: bx+si, bx+di, bp+si, bp+di, si, di, bp, bx. Intel SDM vol. 2, table 2-1. */
const BASE_16 = [3, 3, 5, 5, 6, 7, 5, 3] as const;
const INDEX_16 = [6, 7, 6, 7, -1, -1, -1, -1] as const;

/**
 * Decodes the instruction at RIP into `insn` (Intel SDM vol. 2, chapter 2).
 *
 * @param bytes its bytes, as many as are known; the rest is fetched from guest memory when it is needed
 * @returns the operation
 * @throws Unsupported where the table has none; Fault where the processor would refuse the encoding
 */
export function decode(insn: Instruction, cpu: CpuContext, bytes: Uint8Array, table: OperationTable): Operation {
  reset(insn, cpu, bytes);
  let byte = readPrefixes(insn, cpu);
  insn.map = OpcodeMap.OneByte;
  if (byte === 0x0f) {
    byte = next(insn, cpu);
    insn.map = OpcodeMap.TwoByte;
    if (byte === 0x38 || byte === 0x3a) {
      insn.map = byte === 0x38 ? OpcodeMap.ThreeByte38 : OpcodeMap.ThreeByte3A;
      byte = next(insn, cpu);
    }
  } else if ((byte === 0xc4 || byte === 0xc5) && isVex(insn, cpu)) {
    readVex(insn, cpu, byte);
    byte = next(insn, cpu);
  }
  insn.opcode = byte;
  if (!insn.vex) insn.prefix = mandatoryPrefix(insn);
  const operation = table.find(insn.map, insn.prefix, byte);
  if (operation === undefined) throw new Unsupported('mvm does not know it');
  setSizes(insn);
  if (operation.modRm) readModRm(insn, cpu);
  if (operation.immediate === 1) insn.immediate = next(insn, cpu);
  if (insn.lock && !operation.lockable) undefinedOpcode();
  return operation;
}

function reset(insn: Instruction, cpu: CpuContext, bytes: Uint8Array): void {
  const count = Math.min(bytes.length, MAX_INSTRUCTION_LENGTH);
  for (let i = 0; i < count; i++) insn.bytes[i] = bytes[i]!;
  insn.available = count;
  insn.length = 0;
  insn.mode = codeBits(cpu);
  insn.lock = false;
  insn.rex = false;
  insn.rexW = false;
  insn.rexR = 0;
  insn.rexX = 0;
  insn.rexB = 0;
  insn.operandSizeOverride = false;
  insn.addressSizeOverride = false;
  insn.repeat = 0;
  insn.segmentOverride = NO_SEGMENT;
  insn.vex = false;
  insn.vexL = 0;
  insn.vexRegister = 0;
  insn.mod = 3;
  insn.reg = 0;
  insn.rm = 0;
  insn.immediate = 0;
}

/** The next byte of the instruction. @throws Fault #GP(0) for a sixteenth, #PF where it cannot be fetched */
function next(insn: Instruction, cpu: CpuContext): number {
  if (insn.length === MAX_INSTRUCTION_LENGTH) generalProtection();
  if (insn.length === insn.available) fetchMore(insn, cpu);
  return insn.bytes[insn.length++]!;
}

/** Fetches what follows the known bytes, up to the end of their page. */
function fetchMore(insn: Instruction, cpu: CpuContext): void {
  const linear = codeAddress(cpu, insn.available);
  const toPageEnd = PAGE_SIZE - Number(linear & 0xfffn);
  const count = Math.min(MAX_INSTRUCTION_LENGTH - insn.available, toPageEnd);
  const offset = translatePage(cpu, linear, count, accessRights(cpu) | PageAccess.Fetch);
  for (let i = 0; i < count; i++) insn.bytes[insn.available + i] = cpu.memory.bytes[offset + i]!;
  insn.available += count;
}

/** Reads legacy and REX prefixes. @returns the byte behind them */
function readPrefixes(insn: Instruction, cpu: CpuContext): number {
  for (;;) {
    let byte = next(insn, cpu);
    switch (byte) {
      case 0xf0:
        insn.lock = true;
        continue;
      case 0xf2:
      case 0xf3:
        insn.repeat = byte;
        continue;
      case 0x66:
        insn.operandSizeOverride = true;
        continue;
      case 0x67:
        insn.addressSizeOverride = true;
        continue;
      case 0x26:
      case 0x2e:
      case 0x36:
      case 0x3e:
        // In 64-bit mode these are null prefixes: DS, ES and SS count as flat anyway (§2.1.1).
        if (insn.mode !== 64) insn.segmentOverride = (byte >> 3) & 3;
        continue;
      case 0x64:
        insn.segmentOverride = SegmentRegister.fs;
        continue;
      case 0x65:
        insn.segmentOverride = SegmentRegister.gs;
        continue;
    }
    if (insn.mode !== 64 || (byte & 0xf0) !== 0x40) return byte;
    // A REX prefix counts only right before the opcode: one that another prefix follows is dropped.
    const rex = byte;
    byte = next(insn, cpu);
    if (isPrefix(byte)) {
      insn.length--;
      continue;
    }
    insn.rex = true;
    insn.rexW = (rex & 8) !== 0;
    insn.rexR = (rex & 4) << 1;
    insn.rexX = (rex & 2) << 2;
    insn.rexB = (rex & 1) << 3;
    return byte;
  }
}

/** Whether a byte is a prefix in 64-bit mode, REX included. */
function isPrefix(byte: number): boolean {
  switch (byte) {
    case 0xf0:
    case 0xf2:
    case 0xf3:
    case 0x66:
    case 0x67:
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
      return true;
    default:
      return (byte & 0xf0) === 0x40;
  }
}

function mandatoryPrefix(insn: Instruction): number {
  if (insn.repeat !== 0) return insn.repeat === 0xf3 ? Prefix.F3 : Prefix.F2;
  return insn.operandSizeOverride ? Prefix.OperandSize : Prefix.None;
}

/** Whether C4 or C5 begins a VEX prefix here: outside 64-bit mode it is LES or LDS with a memory operand (§2.3.5). */
function isVex(insn: Instruction, cpu: CpuContext): boolean {
  if (insn.mode === 64) return true;
  if (isRealMode(cpu)) return false;
  const byte = next(insn, cpu);
  insn.length--;
  return byte >= 0xc0;
}

/** The rest of a VEX prefix. Intel SDM vol. 2, §2.3.5. */
function readVex(insn: Instruction, cpu: CpuContext, first: number): void {
  if (insn.rex || insn.lock || insn.repeat !== 0 || insn.operandSizeOverride) undefinedOpcode();
  let byte = next(insn, cpu);
  let map: number = OpcodeMap.TwoByte;
  insn.rexR = byte & 0x80 ? 0 : 8;
  if (first === 0xc4) {
    insn.rexX = byte & 0x40 ? 0 : 8;
    insn.rexB = byte & 0x20 ? 0 : 8;
    map = byte & 0x1f;
    if (map < OpcodeMap.TwoByte || map > OpcodeMap.ThreeByte3A) {
      throw new Unsupported('mvm does not know it');
    }
    byte = next(insn, cpu);
    insn.rexW = (byte & 0x80) !== 0;
  }
  insn.vex = true;
  insn.rex = true;
  insn.vexRegister = ~(byte >> 3) & 0xf;
  insn.vexL = (byte >> 2) & 1;
  insn.prefix = byte & 3;
  insn.map = OpcodeMap.Vex + map;
  if (insn.mode !== 64) {
    // Only eight registers, and W means nothing to an instruction with general registers.
    insn.rexR = 0;
    insn.rexX = 0;
    insn.rexB = 0;
    insn.rexW = false;
    insn.vexRegister &= 7;
  }
}

function setSizes(insn: Instruction): void {
  if (insn.mode === 64) {
    insn.operandSize = insn.rexW ? 8 : insn.operandSizeOverride ? 2 : 4;
    insn.addressSize = insn.addressSizeOverride ? 4 : 8;
  } else {
    const wide = insn.mode === 32;
    insn.operandSize = insn.vex || wide !== insn.operandSizeOverride ? 4 : 2;
    insn.addressSize = wide !== insn.addressSizeOverride ? 4 : 2;
  }
}

/** ModRM, SIB and displacement. Intel SDM vol. 2, §2.1.3 to §2.1.5 and §2.2.1. */
function readModRm(insn: Instruction, cpu: CpuContext): void {
  const byte = next(insn, cpu);
  insn.mod = byte >> 6;
  insn.reg = ((byte >> 3) & 7) | insn.rexR;
  const rm = byte & 7;
  insn.base = -1;
  insn.index = -1;
  insn.scale = 0;
  insn.displacement = 0;
  insn.ripRelative = false;
  if (insn.mod === 3) {
    insn.rm = rm | insn.rexB;
    return;
  }
  if (insn.addressSize === 2) {
    readAddress16(insn, cpu, rm);
    return;
  }
  let displacementSize = insn.mod === 1 ? 1 : insn.mod === 2 ? 4 : 0;
  if (rm === 4) {
    const sib = next(insn, cpu);
    insn.scale = sib >> 6;
    const index = ((sib >> 3) & 7) | insn.rexX;
    if (index !== 4) insn.index = index;
    if ((sib & 7) === 5 && insn.mod === 0) displacementSize = 4;
    else insn.base = (sib & 7) | insn.rexB;
  } else if (rm === 5 && insn.mod === 0) {
    displacementSize = 4;
    insn.ripRelative = insn.mode === 64;
  } else {
    insn.base = rm | insn.rexB;
  }
  if (displacementSize !== 0) insn.displacement = readSigned(insn, cpu, displacementSize);
}

function readAddress16(insn: Instruction, cpu: CpuContext, rm: number): void {
  if (rm === 6 && insn.mod === 0) {
    insn.displacement = readSigned(insn, cpu, 2);
    return;
  }
  insn.base = BASE_16[rm]!;
  insn.index = INDEX_16[rm]!;
  if (insn.mod !== 0) insn.displacement = readSigned(insn, cpu, insn.mod);
}

/** A little-endian signed number of `size` bytes. */
function readSigned(insn: Instruction, cpu: CpuContext, size: number): number {
  let value = 0;
  for (let shift = 0; shift < size * 8; shift += 8) value |= next(insn, cpu) << shift;
  const unused = 32 - size * 8;
  return (value << unused) >> unused;
}
