import { load, load64 } from './access.ts';
import {
  CR0_EM,
  CR0_MP,
  CR0_TS,
  markInUse,
  Vector,
  XFEATURE_X87,
  XSAVE_FCW,
  XSAVE_FSW,
  XSAVE_FTW,
  XSAVE_ST,
} from './control.ts';
import { deviceNotAvailable, Fault, Unsupported, undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import { Effect, type OperationTable } from './operation.ts';
import type { CpuContext, ExtendedState } from './types.ts';

/** Bits of the status word. Intel SDM vol. 1, §8.1.3. */
const FSW_IE = 1 << 0;
const FSW_EXCEPTIONS = 0x3f;
const FSW_SF = 1 << 6;
const FSW_ES = 1 << 7;
const FSW_C1 = 1 << 9;
const FSW_TOP_SHIFT = 11;
const FSW_TOP = 7 << FSW_TOP_SHIFT;
const FSW_B = 1 << 15;
/** The control word's bits that can be written, and bit 6, which reads 1. §8.1.5. */
const FCW_WRITABLE = 0x1f3f;
const FCW_ONE = 0x40;

const EXPONENT_BIAS = 16383;
const REGISTER_SIZE = 16;

/** `fwait`, `fnclex`, `fldcw`, `fild` and `emms`: what an operating system does with the x87 to keep and clean its state. */
export function addX87Operations(table: OperationTable): void {
  table.addForAllPrefixes(OpcodeMap.OneByte, 0x9b, fwait, { noModRm: true });
  table.addForAllPrefixes(OpcodeMap.OneByte, 0xd9, escapeD9);
  table.addForAllPrefixes(OpcodeMap.OneByte, 0xdb, escapeDB);
  table.addForAllPrefixes(OpcodeMap.OneByte, 0xdf, escapeDF);
  table.add(OpcodeMap.TwoByte, Prefix.None, 0x77, emms, { noModRm: true });
}

/** `fwait`. Intel SDM vol. 2, WAIT/FWAIT. */
function fwait(_insn: Instruction, cpu: CpuContext): number {
  const taskSwitched = CR0_MP | CR0_TS;
  if ((cpu.cr0 & taskSwitched) === taskSwitched) deviceNotAvailable();
  checkPending(cpu.extendedState());
  return Effect.None;
}

function escapeD9(insn: Instruction, cpu: CpuContext): number {
  if (insn.isMemory && (insn.reg & 7) === 5) return fldcw(insn, cpu);
  throw new Unsupported('mvm does not know it');
}

function escapeDB(insn: Instruction, cpu: CpuContext): number {
  if (insn.isMemory && (insn.reg & 7) === 0) return fild(insn, cpu, 4);
  if (!insn.isMemory && (insn.reg & 7) === 4 && (insn.rm & 7) === 2) return fnclex(cpu);
  throw new Unsupported('mvm does not know it');
}

function escapeDF(insn: Instruction, cpu: CpuContext): number {
  if (insn.isMemory && (insn.reg & 7) === 0) return fild(insn, cpu, 2);
  if (insn.isMemory && (insn.reg & 7) === 5) return fild(insn, cpu, 8);
  throw new Unsupported('mvm does not know it');
}

/** `fnclex`: takes back exceptions without looking at them. Intel SDM vol. 2, FCLEX/FNCLEX. */
function fnclex(cpu: CpuContext): number {
  checkAvailable(cpu);
  const state = cpu.extendedState();
  const fsw = state.view.getUint16(XSAVE_FSW, true);
  state.view.setUint16(XSAVE_FSW, fsw & ~(FSW_EXCEPTIONS | FSW_SF | FSW_ES | FSW_B), true);
  markInUse(state, XFEATURE_X87);
  return Effect.ExtendedState;
}

/** `fldcw m16`. Intel SDM vol. 2, FLDCW. */
function fldcw(insn: Instruction, cpu: CpuContext): number {
  checkAvailable(cpu);
  const state = cpu.extendedState();
  checkPending(state);
  const control = (load(insn, cpu, 2) & FCW_WRITABLE) | FCW_ONE;
  state.view.setUint16(XSAVE_FCW, control, true);
  state.view.setUint16(XSAVE_FSW, summarize(state.view.getUint16(XSAVE_FSW, true), control), true);
  markInUse(state, XFEATURE_X87);
  return Effect.ExtendedState;
}

/** `fild`: pushes a signed integer of 2, 4 or 8 bytes. Intel SDM vol. 2, FILD. The last instruction's pointers stay as they were. */
function fild(insn: Instruction, cpu: CpuContext, size: number): number {
  checkAvailable(cpu);
  const state = cpu.extendedState();
  checkPending(state);
  const source = BigInt.asIntN(size * 8, size === 8 ? load64(insn, cpu) : BigInt(load(insn, cpu, size)));
  push(state, source);
  markInUse(state, XFEATURE_X87);
  return Effect.ExtendedState;
}

function push(state: ExtendedState, value: bigint): void {
  const { view } = state;
  let fsw = view.getUint16(XSAVE_FSW, true) & ~FSW_C1;
  const top = (((fsw & FSW_TOP) >> FSW_TOP_SHIFT) - 1) & 7;
  const full = (view.getUint8(XSAVE_FTW) & (1 << top)) !== 0;
  const control = view.getUint16(XSAVE_FCW, true);
  if (full) fsw |= FSW_IE | FSW_SF | FSW_C1;
  if (full && (control & FSW_IE) === 0) {
    // An unmasked stack overflow leaves the stack alone. §8.5.1.1.
    view.setUint16(XSAVE_FSW, summarize(fsw, control), true);
    return;
  }
  fsw = (fsw & ~FSW_TOP) | (top << FSW_TOP_SHIFT);
  view.setUint16(XSAVE_FSW, summarize(fsw, control), true);
  view.setUint8(XSAVE_FTW, view.getUint8(XSAVE_FTW) | (1 << top));
  rotate(state, 7);
  if (full) writeExtended(view, 0xffff, 0xc000_0000_0000_0000n);
  else writeInteger(view, value);
}

/** The image keeps ST(0) to ST(7) in this order, whatever TOP is: makes what was ST(`by`) ST(0), and so on. */
function rotate({ image }: ExtendedState, by: number): void {
  const before = image.slice(XSAVE_ST, XSAVE_ST + 8 * REGISTER_SIZE);
  for (let i = 0; i < 8; i++) {
    const from = ((i + by) & 7) * REGISTER_SIZE;
    image.set(before.subarray(from, from + REGISTER_SIZE), XSAVE_ST + i * REGISTER_SIZE);
  }
}

function writeInteger(view: DataView, value: bigint): void {
  if (value === 0n) {
    writeExtended(view, 0, 0n);
    return;
  }
  let significand = value < 0n ? -value : value;
  let exponent = EXPONENT_BIAS + 63;
  while (significand >> 63n === 0n) {
    significand <<= 1n;
    exponent--;
  }
  writeExtended(view, exponent | (value < 0n ? 0x8000 : 0), significand);
}

/** Writes ST(0): 80 bits. */
function writeExtended(view: DataView, signAndExponent: number, significand: bigint): void {
  view.setBigUint64(XSAVE_ST, significand, true);
  view.setUint16(XSAVE_ST + 8, signAndExponent, true);
}

/** `emms`: empties all registers, and like every MMX instruction sets TOP to 0. Intel SDM vol. 3, table 12-2. */
function emms(_insn: Instruction, cpu: CpuContext): number {
  if ((cpu.cr0 & CR0_EM) !== 0) undefinedOpcode();
  checkAvailable(cpu);
  const state = cpu.extendedState();
  checkPending(state);
  state.view.setUint8(XSAVE_FTW, 0);
  const fsw = state.view.getUint16(XSAVE_FSW, true);
  state.view.setUint16(XSAVE_FSW, fsw & ~FSW_TOP, true);
  // The registers stay where they are; ST(0) is now the first of them.
  rotate(state, (8 - ((fsw & FSW_TOP) >> FSW_TOP_SHIFT)) & 7);
  markInUse(state, XFEATURE_X87);
  return Effect.ExtendedState;
}

/** A status word whose ES and B say whether the control word leaves one of its exceptions unmasked. */
function summarize(fsw: number, control: number): number {
  const unmasked = fsw & ~control & FSW_EXCEPTIONS;
  return unmasked !== 0 ? fsw | FSW_ES | FSW_B : fsw & ~(FSW_ES | FSW_B);
}

function checkAvailable(cpu: CpuContext): void {
  if ((cpu.cr0 & (CR0_EM | CR0_TS)) !== 0) deviceNotAvailable();
}

/** #MF for an unmasked exception of an earlier x87 instruction (with CR0.NE, which 64-bit systems set). */
function checkPending(state: ExtendedState): void {
  if ((state.view.getUint16(XSAVE_FSW, true) & FSW_ES) !== 0) throw new Fault(Vector.MF);
}
