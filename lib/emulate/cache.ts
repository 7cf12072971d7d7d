import { load } from './access.ts';
import type { Instruction } from './instruction.ts';
import { Effect } from './operation.ts';
import type { CpuContext } from './types.ts';

/** `clwb m8`: checked like a load of one byte, and else without an effect that anyone can see. Intel SDM vol. 2, CLWB. */
export function clwb(insn: Instruction, cpu: CpuContext): number {
  load(insn, cpu, 1);
  return Effect.None;
}

/** `lfence`, `mfence`, `sfence`: every access here is done, and in order, when the instruction is. */
export function fence(): number {
  return Effect.None;
}
