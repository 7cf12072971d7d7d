import { load, store } from './access.ts';
import {
  CR0_EM,
  CR0_TS,
  CR4_OSFXSR,
  CR4_OSXSAVE,
  markInUse,
  mxcsrMask,
  XFEATURE_AVX,
  XFEATURE_SSE,
  XSAVE_MXCSR,
} from './control.ts';
import { deviceNotAvailable, generalProtection, undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { Effect } from './operation.ts';
import type { CpuContext } from './types.ts';

/** `ldmxcsr m32`, `vldmxcsr m32`. Intel SDM vol. 2, LDMXCSR. */
export function ldmxcsr(insn: Instruction, cpu: CpuContext): number {
  checkSimd(insn, cpu);
  const value = load(insn, cpu, 4);
  const state = cpu.extendedState();
  if ((value & ~mxcsrMask(state)) !== 0) generalProtection();
  state.view.setUint32(XSAVE_MXCSR, value, true);
  // KVM takes MXCSR from the image only where one of the vector components is in use.
  markInUse(state, XFEATURE_SSE);
  return Effect.ExtendedState;
}

/** `stmxcsr m32`, `vstmxcsr m32`. Intel SDM vol. 2, STMXCSR. */
export function stmxcsr(insn: Instruction, cpu: CpuContext): number {
  checkSimd(insn, cpu);
  store(insn, cpu, 4, cpu.extendedState().view.getUint32(XSAVE_MXCSR, true));
  return Effect.None;
}

/** Whether SSE instructions (or with VEX, AVX instructions) may run: #UD and #NM. Intel SDM vol. 3, §13.1.3 and §13.5. */
export function checkSimd(insn: Instruction, cpu: CpuContext): void {
  if (insn.vex) {
    const needed = XFEATURE_SSE | XFEATURE_AVX;
    if (insn.vexL !== 0 || insn.vexRegister !== 0) undefinedOpcode();
    if ((cpu.cr4 & CR4_OSXSAVE) === 0 || (cpu.readXcr0() & needed) !== needed) undefinedOpcode();
  } else if ((cpu.cr0 & CR0_EM) !== 0 || (cpu.cr4 & CR4_OSFXSR) === 0) {
    undefinedOpcode();
  }
  if ((cpu.cr0 & CR0_TS) !== 0) deviceNotAvailable();
}
