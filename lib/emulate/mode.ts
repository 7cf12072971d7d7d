import { EFER_LMA } from '../memory/page-walk.ts';
import { CR0_PE } from './control.ts';
import { Flag } from './registers.ts';
import { type CpuContext, SegmentRegister } from './types.ts';

/** Bits of the code segment: 64, 32 or 16. */
export function codeBits(cpu: CpuContext): number {
  const cs = cpu.segment(SegmentRegister.cs);
  if ((cpu.efer & EFER_LMA) !== 0 && cs.l !== 0) return 64;
  return cs.db !== 0 ? 32 : 16;
}

/** Real mode or virtual-8086 mode: no VEX, no descriptors. */
export function isRealMode(cpu: CpuContext): boolean {
  return (cpu.cr0 & CR0_PE) === 0 || (cpu.registers.flags & Flag.VM) !== 0;
}

/** Long mode: 64-bit or compatibility. */
export function isLongMode(cpu: CpuContext): boolean {
  return (cpu.efer & EFER_LMA) !== 0;
}
