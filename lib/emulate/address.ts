import { CR4_LA57 } from '../memory/page-walk.ts';
import { Vector } from './control.ts';
import { Fault, generalProtection } from './faults.ts';
import { type Instruction, NO_SEGMENT } from './instruction.ts';
import { codeBits } from './mode.ts';
import { Gpr } from './registers.ts';
import { type CpuContext, type Segment, SegmentRegister } from './types.ts';

/** Type bits of a data segment (bit 3 clear) or code segment. Intel SDM vol. 3, §3.4.5.1. */
const TYPE_CODE = 8;
const TYPE_EXPAND_DOWN = 4;
/** Data: writable. Code: readable. */
const TYPE_ACCESS = 2;

/**
 * The linear address of an instruction's memory operand, checked against its segment (Intel SDM vol. 3, §5.3 and §5.8.7; in 64-bit
 * mode: canonical).
 * @param size bytes of the operand
 * @throws Fault #GP(0), or #SS(0) for the stack segment
 */
export function operandAddress(insn: Instruction, cpu: CpuContext, size: number, write: boolean): bigint {
  const register = insn.segmentOverride === NO_SEGMENT ? defaultSegment(insn) : insn.segmentOverride;
  if (insn.mode === 64) {
    let linear = effectiveAddress(insn, cpu);
    if (register >= SegmentRegister.fs) linear = BigInt.asUintN(64, linear + cpu.segment(register).base);
    checkCanonical(cpu, linear, size, register === SegmentRegister.ss ? Vector.SS : Vector.GP);
    return linear;
  }
  const offset = Number(effectiveAddress(insn, cpu));
  const segment = cpu.segment(register);
  checkSegment(segment, offset, size, write, register === SegmentRegister.ss ? Vector.SS : Vector.GP);
  return BigInt.asUintN(32, segment.base + BigInt(offset));
}

/** Checks that `size` bytes at a linear address of 64-bit mode are canonical. @throws Fault `vector`, error code 0 */
export function checkCanonical(cpu: CpuContext, linear: bigint, size: number, vector: number): void {
  const bits = (cpu.cr4 & CR4_LA57) !== 0 ? 57 : 48;
  if (!isCanonical(linear, bits) || (size > 1 && !isCanonical(linear + BigInt(size - 1), bits)))
    throw new Fault(vector, 0);
}

/** Whether bits 63 to `bits` - 1 are all the same. */
function isCanonical(linear: bigint, bits: number): boolean {
  const top = BigInt.asIntN(64, linear) >> BigInt(bits - 1);
  return top === 0n || top === -1n;
}

/** The linear address of the code byte `delta` bytes behind RIP. */
export function codeAddress(cpu: CpuContext, delta: number): bigint {
  const rip = cpu.registers.rip + BigInt(delta);
  if (codeBits(cpu) === 64) return BigInt.asUintN(64, rip);
  const cs = cpu.segment(SegmentRegister.cs);
  const offset = BigInt.asUintN(32, rip);
  if (offset > BigInt(cs.limit)) generalProtection();
  return BigInt.asUintN(32, cs.base + offset);
}

/** SS for addresses based on the stack or frame pointer, else DS. Intel SDM vol. 1, table 3-5. */
function defaultSegment(insn: Instruction): number {
  return insn.base === Gpr.rsp || insn.base === Gpr.rbp ? SegmentRegister.ss : SegmentRegister.ds;
}

/** Base, scaled index and displacement, cut to the address size. Intel SDM vol. 1, §3.7.5. */
function effectiveAddress(insn: Instruction, cpu: CpuContext): bigint {
  const { registers } = cpu;
  if (insn.addressSize !== 8 && !insn.ripRelative) {
    let offset = insn.displacement;
    if (insn.base >= 0) offset += registers.get32(insn.base);
    if (insn.index >= 0) offset += registers.get32(insn.index) * (1 << insn.scale);
    return BigInt(insn.addressSize === 4 ? offset >>> 0 : offset & 0xffff);
  }
  let address = BigInt(insn.displacement);
  if (insn.ripRelative) address += registers.rip + BigInt(insn.length);
  if (insn.base >= 0) address += registers.get64(insn.base);
  if (insn.index >= 0) address += registers.get64(insn.index) << BigInt(insn.scale);
  return BigInt.asUintN(insn.addressSize * 8, address);
}

/** Limit, presence and type, as outside 64-bit mode. */
function checkSegment(segment: Segment, offset: number, size: number, write: boolean, vector: number): void {
  const { type, limit } = segment;
  if (segment.unusable !== 0 || segment.present === 0) throw new Fault(vector, 0);
  const code = (type & TYPE_CODE) !== 0;
  if (write ? code || (type & TYPE_ACCESS) === 0 : code && (type & TYPE_ACCESS) === 0) generalProtection();
  const last = offset + size - 1;
  if (!code && (type & TYPE_EXPAND_DOWN) !== 0) {
    if (offset <= limit || last > (segment.db !== 0 ? 0xffff_ffff : 0xffff)) throw new Fault(vector, 0);
  } else if (last > limit) {
    throw new Fault(vector, 0);
  }
}
