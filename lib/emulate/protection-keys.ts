import { CR4_PKE } from '../memory/page-walk.ts';
import { XFEATURE_PKRU_NUMBER, XSAVE_XSTATE_BV } from './control.ts';
import { generalProtection, undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { Effect } from './operation.ts';
import { Gpr } from './registers.ts';
import type { CpuContext, XsaveComponent } from './types.ts';

/** `rdpkru`. Intel SDM vol. 2, RDPKRU. */
export function rdpkru(_insn: Instruction, cpu: CpuContext): number {
  const component = checkedComponent(cpu);
  cpu.registers.set32(Gpr.rax, cpu.extendedState().view.getUint32(component.offset, true));
  cpu.registers.set32(Gpr.rdx, 0);
  return Effect.None;
}

/** `wrpkru`. Intel SDM vol. 2, WRPKRU. */
export function wrpkru(_insn: Instruction, cpu: CpuContext): number {
  const component = checkedComponent(cpu);
  if (cpu.registers.get32(Gpr.rdx) !== 0) generalProtection();
  const { view } = cpu.extendedState();
  view.setUint32(component.offset, cpu.registers.get32(Gpr.rax), true);
  view.setUint32(XSAVE_XSTATE_BV, view.getUint32(XSAVE_XSTATE_BV, true) | (1 << XFEATURE_PKRU_NUMBER), true);
  return Effect.ExtendedState;
}

/** PKRU as `CpuContext.pkru` has it: a component of the XSAVE area, and 0 where the guest has none. */
export function readPkru(cpu: CpuContext): number {
  const component = cpu.xsaveLayout.components[XFEATURE_PKRU_NUMBER];
  return component === undefined ? 0 : cpu.extendedState().view.getUint32(component.offset, true);
}

function checkedComponent(cpu: CpuContext): XsaveComponent {
  const component = cpu.xsaveLayout.components[XFEATURE_PKRU_NUMBER];
  if ((cpu.cr4 & CR4_PKE) === 0 || component === undefined) undefinedOpcode();
  if (cpu.registers.get32(Gpr.rcx) !== 0) generalProtection();
  return component;
}
