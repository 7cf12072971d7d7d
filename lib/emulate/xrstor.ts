import { accessRights, Span } from './access.ts';
import {
  MXCSR_INITIAL,
  markInUse,
  mxcsrMask,
  XFEATURE_AVX,
  XFEATURE_SSE,
  XFEATURE_X87,
  XSAVE_EXTENDED_REGION,
  XSAVE_FCW,
  XSAVE_FDP,
  XSAVE_FIP,
  XSAVE_MXCSR,
  XSAVE_ST,
  XSAVE_XMM,
  XSAVE_XSTATE_BV,
} from './control.ts';
import { generalProtection } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { Effect } from './operation.ts';
import type { CpuContext, ExtendedState } from './types.ts';
import { endOfXmm } from './xsave.ts';
import {
  AreaLayout,
  areaAddress,
  checkSupervisor,
  checkXsaveEnabled,
  forEachComponent,
  requestedFeatures,
  XCOMP_COMPACTED_HIGH,
} from './xsave-area.ts';

const FCW_INITIAL = 0x037f;
const HEADER_SIZE = 64;

const layout = new AreaLayout();
const span = new Span();
const header = new Uint8Array(HEADER_SIZE);
const headerView = new DataView(header.buffer);
const mxcsr = new Uint8Array(4);
const mxcsrView = new DataView(mxcsr.buffer);

/** `xrstor`, of either format. Intel SDM vol. 1, §13.8. */
export function xrstor(insn: Instruction, cpu: CpuContext): number {
  checkXsaveEnabled(insn, cpu);
  return restore(insn, cpu, false);
}

/** `xrstors`: the compacted format only. §13.12. */
export function xrstors(insn: Instruction, cpu: CpuContext): number {
  checkXsaveEnabled(insn, cpu);
  checkSupervisor(cpu);
  return restore(insn, cpu, true);
}

function restore(insn: Instruction, cpu: CpuContext, compactedOnly: boolean): number {
  const enabled = cpu.readXcr0();
  const requested = requestedFeatures(cpu);
  const linear = areaAddress(insn, cpu, XSAVE_EXTENDED_REGION, false);
  span.translate(cpu, linear, XSAVE_EXTENDED_REGION, accessRights(cpu));
  span.read(XSAVE_XSTATE_BV, header);
  const compacted = (headerView.getUint32(12, true) & XCOMP_COMPACTED_HIGH) !== 0;
  if (compactedOnly && !compacted) generalProtection();
  const present = headerView.getUint32(0, true);
  const inArea = compacted ? headerView.getUint32(8, true) : enabled;
  checkHeader(enabled, compacted, present, inArea);
  layout.lay(cpu, compacted ? inArea : requested & present, compacted);
  span.translate(cpu, linear, layout.size, accessRights(cpu));

  const state = cpu.extendedState();
  const loaded = requested & present;
  const cleared = requested & ~present;
  const withMxcsr = takesMxcsr(requested, present, compacted);
  if (withMxcsr) {
    span.read(XSAVE_MXCSR, mxcsr);
    if ((mxcsrView.getUint32(0, true) & ~mxcsrMask(state)) !== 0) generalProtection();
  }
  forEachComponent(cpu, state, loaded, (i, bytes) => span.read(layout.at(i), bytes));
  forEachComponent(cpu, state, cleared, (_, bytes) => bytes.fill(0));
  if ((loaded & XFEATURE_X87) !== 0) loadX87(insn, state);
  else if ((cleared & XFEATURE_X87) !== 0) clearX87(state);
  const xmm = state.image.subarray(XSAVE_XMM, endOfXmm(insn));
  if ((loaded & XFEATURE_SSE) !== 0) span.read(XSAVE_XMM, xmm);
  else if ((cleared & XFEATURE_SSE) !== 0) xmm.fill(0);

  const inUse = state.view.getUint32(XSAVE_XSTATE_BV, true);
  state.view.setUint32(XSAVE_XSTATE_BV, (inUse & ~requested) | loaded, true);
  if (withMxcsr) {
    state.image.set(mxcsr, XSAVE_MXCSR);
    // KVM takes MXCSR from the image only where a vector component is in use.
    if (mxcsrView.getUint32(0, true) !== MXCSR_INITIAL) markInUse(state, XFEATURE_SSE);
  } else if (compacted && (cleared & XFEATURE_SSE) !== 0) {
    state.view.setUint32(XSAVE_MXCSR, MXCSR_INITIAL, true);
  }
  return Effect.ExtendedState;
}

/** #GP(0) for a header that is not well formed. §13.8: bytes 23:8 (standard) or 63:16 (compacted) are 0, and so are unknown components. */
function checkHeader(enabled: number, compacted: boolean, present: number, inArea: number): void {
  if (headerView.getUint32(4, true) !== 0) generalProtection();
  if (compacted) {
    if ((headerView.getUint32(12, true) & ~XCOMP_COMPACTED_HIGH) !== 0) generalProtection();
    if ((inArea & ~enabled) !== 0 || (present & ~inArea) !== 0) generalProtection();
    if (header.subarray(16).some((byte) => byte !== 0)) generalProtection();
  } else {
    if ((present & ~enabled) !== 0) generalProtection();
    if (header.subarray(8, 24).some((byte) => byte !== 0)) generalProtection();
  }
}

/** Whether MXCSR is loaded from the area. Standard: with SSE or AVX, wherever they are themselves. Compacted: with SSE. */
function takesMxcsr(requested: number, present: number, compacted: boolean): boolean {
  if (compacted) return (requested & present & XFEATURE_SSE) !== 0;
  return (requested & (XFEATURE_SSE | XFEATURE_AVX)) !== 0;
}

function loadX87(insn: Instruction, { image, view }: ExtendedState): void {
  span.read(0, image.subarray(0, XSAVE_MXCSR));
  if (!insn.rexW) {
    // The upper halves held selectors, which processors have given up.
    view.setUint32(XSAVE_FIP + 4, 0, true);
    view.setUint32(XSAVE_FDP + 4, 0, true);
  }
  span.read(XSAVE_ST, image.subarray(XSAVE_ST, XSAVE_XMM));
}

function clearX87({ image, view }: ExtendedState): void {
  image.fill(0, 0, XSAVE_MXCSR);
  image.fill(0, XSAVE_ST, XSAVE_XMM);
  view.setUint16(XSAVE_FCW, FCW_INITIAL, true);
}
