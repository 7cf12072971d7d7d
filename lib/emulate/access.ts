import { PageAccess } from '../memory/page-walk.ts';
import { operandAddress } from './address.ts';
import { CR0_AM, Vector } from './control.ts';
import { Fault, Unsupported } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { Flag } from './registers.ts';
import type { CpuContext } from './types.ts';

const PAGE_SIZE = 4096;
const PAGE_MASK = 0xfffn;
const LOW_32 = 0xffff_ffffn;

/** The rights of an explicit data access, as `PageAccess` bits. */
export function accessRights(cpu: CpuContext): number {
  if (cpu.cpl === 3) return PageAccess.User;
  return (cpu.registers.flags & Flag.AC) !== 0 ? PageAccess.AccessUserPages : 0;
}

/**
 * Translates `length` bytes that lie in one page.
 * @param access `PageAccess` bits
 * @returns their offset in `cpu.memory.buffer`
 * @throws Fault #PF; Unsupported where they are not RAM
 */
export function translatePage(cpu: CpuContext, linear: bigint, length: number, access: number): number {
  const { pageWalk } = cpu;
  if (!pageWalk.translate(cpu, Number(linear & LOW_32), Number(linear >> 32n), access)) {
    throw new Fault(Vector.PF, pageWalk.errorCode, linear);
  }
  const offset = cpu.memory.tryOffsetOf(pageWalk.physicalAddress, length);
  if (offset < 0) {
    throw new Unsupported(`its operand at guest-physical 0x${pageWalk.physicalAddress.toString(16)} is not RAM`);
  }
  return offset;
}

/** Bytes at a linear address, all of them translated: up to a few pages. */
export class Span {
  readonly #offsets: number[] = [];
  #cpu: CpuContext | undefined;
  #firstLength = 0;
  #length = 0;

  /** @throws Fault #PF for the first page that cannot be accessed so; Unsupported where any byte is not RAM */
  translate(cpu: CpuContext, linear: bigint, length: number, access: number): void {
    this.#cpu = cpu;
    this.#length = length;
    this.#firstLength = Math.min(length, PAGE_SIZE - Number(linear & PAGE_MASK));
    this.#offsets.length = 0;
    let done = 0;
    for (let size = this.#firstLength; done < length; size = Math.min(length - done, PAGE_SIZE)) {
      this.#offsets.push(translatePage(cpu, BigInt.asUintN(64, linear + BigInt(done)), size, access));
      done += size;
    }
  }

  /** Copies `into.length` bytes from byte `at` of the span on. */
  read(at: number, into: Uint8Array): void {
    const memory = this.#cpu!.memory.bytes;
    for (let i = 0; i < into.length; i++) into[i] = memory[this.#offsetOf(at + i)]!;
  }

  /** Copies `bytes` to byte `at` of the span. */
  write(at: number, bytes: Uint8Array): void {
    const memory = this.#cpu!.memory.bytes;
    for (let i = 0; i < bytes.length; i++) memory[this.#offsetOf(at + i)] = bytes[i]!;
  }

  #offsetOf(at: number): number {
    if (at >= this.#length) throw new RangeError('beyond the span');
    if (at < this.#firstLength) return this.#offsets[0]! + at;
    const behind = at - this.#firstLength;
    return this.#offsets[1 + Math.floor(behind / PAGE_SIZE)]! + (behind % PAGE_SIZE);
  }
}

const scratch = new Uint8Array(8);
const scratchView = new DataView(scratch.buffer);
const span = new Span();

/** Reads a memory operand of 1, 2 or 4 bytes. */
export function load(insn: Instruction, cpu: CpuContext, size: number): number {
  const linear = checkedAddress(insn, cpu, size, false);
  return loadLinear(cpu, linear, size, accessRights(cpu));
}

/** Reads 1, 2 or 4 bytes at a linear address. @param access `PageAccess` bits */
export function loadLinear(cpu: CpuContext, linear: bigint, size: number, access: number): number {
  let view: DataView<ArrayBufferLike> = cpu.memory.view;
  let offset = 0;
  if (inOnePage(linear, size)) {
    offset = translatePage(cpu, linear, size, access);
  } else {
    span.translate(cpu, linear, size, access);
    span.read(0, scratch.subarray(0, size));
    view = scratchView;
  }
  if (size === 4) return view.getUint32(offset, true);
  return size === 2 ? view.getUint16(offset, true) : view.getUint8(offset);
}

/** Reads a memory operand of 8 bytes. */
export function load64(insn: Instruction, cpu: CpuContext): bigint {
  return loadLinear64(cpu, checkedAddress(insn, cpu, 8, false), accessRights(cpu));
}

/** Reads 8 bytes at a linear address. @param access `PageAccess` bits */
export function loadLinear64(cpu: CpuContext, linear: bigint, access: number): bigint {
  if (inOnePage(linear, 8)) return cpu.memory.view.getBigUint64(translatePage(cpu, linear, 8, access), true);
  span.translate(cpu, linear, 8, access);
  span.read(0, scratch);
  return scratchView.getBigUint64(0, true);
}

/** Writes a memory operand of 1, 2 or 4 bytes. */
export function store(insn: Instruction, cpu: CpuContext, size: number, value: number): void {
  const linear = checkedAddress(insn, cpu, size, true);
  const access = accessRights(cpu) | PageAccess.Write;
  if (inOnePage(linear, size)) {
    const offset = translatePage(cpu, linear, size, access);
    if (size === 4) cpu.memory.view.setUint32(offset, value, true);
    else if (size === 2) cpu.memory.view.setUint16(offset, value, true);
    else cpu.memory.view.setUint8(offset, value);
    return;
  }
  scratchView.setUint32(0, value, true);
  span.translate(cpu, linear, size, access);
  span.write(0, scratch.subarray(0, size));
}

/** Writes a memory operand of 8 bytes. */
export function store64(insn: Instruction, cpu: CpuContext, value: bigint): void {
  const linear = checkedAddress(insn, cpu, 8, true);
  const access = accessRights(cpu) | PageAccess.Write;
  if (inOnePage(linear, 8)) {
    cpu.memory.view.setBigUint64(translatePage(cpu, linear, 8, access), value, true);
    return;
  }
  scratchView.setBigUint64(0, value, true);
  span.translate(cpu, linear, 8, access);
  span.write(0, scratch);
}

/** Reads a memory operand of `into.length` bytes. */
export function loadBytes(insn: Instruction, cpu: CpuContext, into: Uint8Array, aligned = false): void {
  span.translate(cpu, vectorAddress(insn, cpu, into.length, false, aligned), into.length, accessRights(cpu));
  span.read(0, into);
}

/** Writes a memory operand of `bytes.length` bytes. */
export function storeBytes(insn: Instruction, cpu: CpuContext, bytes: Uint8Array, aligned = false): void {
  const linear = vectorAddress(insn, cpu, bytes.length, true, aligned);
  span.translate(cpu, linear, bytes.length, accessRights(cpu) | PageAccess.Write);
  span.write(0, bytes);
}

/**
 * The linear address of an operand whose alignment matters only where `aligned`: then it must be a multiple of its size.
 * @throws Fault #GP(0) where it is not
 */
export function vectorAddress(
  insn: Instruction,
  cpu: CpuContext,
  size: number,
  write: boolean,
  aligned: boolean,
): bigint {
  if (!aligned) return checkedAddress(insn, cpu, size, write);
  const linear = operandAddress(insn, cpu, size, write);
  if ((linear & BigInt(size - 1)) !== 0n) throw new Fault(Vector.GP, 0);
  return linear;
}

/** The linear address of an operand, checked for alignment where CR0.AM and RFLAGS.AC ask for it. Intel SDM vol. 3, §6.15, #AC. */
function checkedAddress(insn: Instruction, cpu: CpuContext, size: number, write: boolean): bigint {
  const linear = operandAddress(insn, cpu, size, write);
  if (
    cpu.cpl === 3 &&
    (cpu.cr0 & CR0_AM) !== 0 &&
    (cpu.registers.flags & Flag.AC) !== 0 &&
    (linear & BigInt(size - 1)) !== 0n
  ) {
    throw new Fault(Vector.AC, 0);
  }
  return linear;
}

function inOnePage(linear: bigint, size: number): boolean {
  return Number(linear & PAGE_MASK) + size <= PAGE_SIZE;
}
