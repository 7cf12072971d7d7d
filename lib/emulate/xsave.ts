import { PageAccess } from '../memory/page-walk.ts';
import { accessRights, Span } from './access.ts';
import {
  MXCSR_INITIAL,
  XFEATURE_AVX,
  XFEATURE_SSE,
  XFEATURE_X87,
  XSAVE_FDP,
  XSAVE_FIP,
  XSAVE_MXCSR,
  XSAVE_ST,
  XSAVE_XCOMP_BV,
  XSAVE_XMM,
  XSAVE_XSTATE_BV,
} from './control.ts';
import type { Instruction } from './instruction.ts';
import { Effect } from './operation.ts';
import type { CpuContext, ExtendedState } from './types.ts';
import {
  AreaLayout,
  areaAddress,
  checkSupervisor,
  checkXsaveEnabled,
  forEachComponent,
  requestedFeatures,
  XCOMP_COMPACTED_HIGH,
} from './xsave-area.ts';

const XMM_SIZE = 16;
const ZEROS = new Uint8Array(4);

const layout = new AreaLayout();
const span = new Span();
const header = new Uint8Array(16);
const headerView = new DataView(header.buffer);

/** `xsave`. Intel SDM vol. 1, §13.7. */
export function xsave(insn: Instruction, cpu: CpuContext): number {
  return saveStandard(insn, cpu, false);
}

/** `xsaveopt`: leaves out components in their initial configuration. It may leave out unmodified ones, and does not. §13.9. */
export function xsaveopt(insn: Instruction, cpu: CpuContext): number {
  return saveStandard(insn, cpu, true);
}

/** `xsavec`. §13.10. */
export function xsavec(insn: Instruction, cpu: CpuContext): number {
  checkXsaveEnabled(insn, cpu);
  return saveCompacted(insn, cpu);
}

/** `xsaves`: with IA32_XSS = 0 it is `xsavec` for CPL 0. §13.11. */
export function xsaves(insn: Instruction, cpu: CpuContext): number {
  checkXsaveEnabled(insn, cpu);
  checkSupervisor(cpu);
  return saveCompacted(insn, cpu);
}

function saveStandard(insn: Instruction, cpu: CpuContext, optimized: boolean): number {
  checkXsaveEnabled(insn, cpu);
  const requested = requestedFeatures(cpu);
  layout.lay(cpu, requested, false);
  const linear = areaAddress(insn, cpu, layout.size, true);
  span.translate(cpu, linear, layout.size, accessRights(cpu) | PageAccess.Write);
  const state = cpu.extendedState();
  const inUse = state.view.getUint32(XSAVE_XSTATE_BV, true);
  const saved = optimized ? requested & inUse : requested;
  // MXCSR belongs to SSE and AVX both, and to neither's initial configuration.
  writeComponents(insn, cpu, state, saved, (requested & (XFEATURE_SSE | XFEATURE_AVX)) !== 0);
  span.read(XSAVE_XSTATE_BV, header.subarray(0, 8));
  const before = headerView.getUint32(0, true);
  headerView.setUint32(0, (before & ~requested) | (inUse & requested), true);
  span.write(XSAVE_XSTATE_BV, header.subarray(0, 8));
  return Effect.None;
}

function saveCompacted(insn: Instruction, cpu: CpuContext): number {
  const requested = requestedFeatures(cpu);
  layout.lay(cpu, requested, true);
  const linear = areaAddress(insn, cpu, layout.size, true);
  span.translate(cpu, linear, layout.size, accessRights(cpu) | PageAccess.Write);
  const state = cpu.extendedState();
  let saved = requested & state.view.getUint32(XSAVE_XSTATE_BV, true);
  if (state.view.getUint32(XSAVE_MXCSR, true) !== MXCSR_INITIAL) saved |= requested & XFEATURE_SSE;
  writeComponents(insn, cpu, state, saved, (saved & XFEATURE_SSE) !== 0);
  headerView.setUint32(0, saved, true);
  headerView.setUint32(4, 0, true);
  headerView.setUint32(XSAVE_XCOMP_BV - XSAVE_XSTATE_BV, requested, true);
  headerView.setUint32(XSAVE_XCOMP_BV - XSAVE_XSTATE_BV + 4, XCOMP_COMPACTED_HIGH, true);
  span.write(XSAVE_XSTATE_BV, header);
  return Effect.None;
}

function writeComponents(
  insn: Instruction,
  cpu: CpuContext,
  state: ExtendedState,
  saved: number,
  withMxcsr: boolean,
): void {
  const { image } = state;
  if ((saved & XFEATURE_X87) !== 0) {
    if (insn.rexW) {
      span.write(0, image.subarray(0, XSAVE_MXCSR));
    } else {
      // The pointers are 32 bits and a selector that processors have given up: it reads 0.
      span.write(0, image.subarray(0, XSAVE_FIP));
      span.write(XSAVE_FIP, image.subarray(XSAVE_FIP, XSAVE_FIP + 4));
      span.write(XSAVE_FIP + 4, ZEROS);
      span.write(XSAVE_FDP, image.subarray(XSAVE_FDP, XSAVE_FDP + 4));
      span.write(XSAVE_FDP + 4, ZEROS);
    }
    span.write(XSAVE_ST, image.subarray(XSAVE_ST, XSAVE_XMM));
  }
  if (withMxcsr) span.write(XSAVE_MXCSR, image.subarray(XSAVE_MXCSR, XSAVE_ST));
  if ((saved & XFEATURE_SSE) !== 0) span.write(XSAVE_XMM, image.subarray(XSAVE_XMM, endOfXmm(insn)));
  forEachComponent(cpu, state, saved, (i, bytes) => span.write(layout.at(i), bytes));
}

/** Only 64-bit mode has registers 8 to 15. */
export function endOfXmm(insn: Instruction): number {
  return XSAVE_XMM + (insn.mode === 64 ? 16 : 8) * XMM_SIZE;
}
