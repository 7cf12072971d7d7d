import type { ExtendedState } from './types.ts';

/** Bits of CR0 and CR4 beyond those that paging reads. Intel SDM vol. 3, §2.5. */
export const CR0_PE = 1 << 0;
export const CR0_MP = 1 << 1;
export const CR0_EM = 1 << 2;
export const CR0_TS = 1 << 3;
export const CR0_AM = 1 << 18;
export const CR4_TSD = 1 << 2;
export const CR4_OSFXSR = 1 << 9;
export const CR4_PCIDE = 1 << 17;
export const CR4_OSXSAVE = 1 << 18;

/** Exception vectors. Intel SDM vol. 3, table 6-1. */
export const Vector = {
  DB: 1,
  BP: 3,
  OF: 4,
  UD: 6,
  NM: 7,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
} as const;

/** DR6: the debug exception comes from single-stepping (`RFLAGS.TF`). Intel SDM vol. 3, §17.2.3. */
export const DR6_BS = 1 << 14;

/** State components: bits of XCR0, XSTATE_BV and XCOMP_BV. Intel SDM vol. 1, §13.1. */
export const XFEATURE_X87 = 1 << 0;
export const XFEATURE_SSE = 1 << 1;
export const XFEATURE_AVX = 1 << 2;
export const XFEATURE_PKRU_NUMBER = 9;

/** Offsets in an XSAVE area. Intel SDM vol. 1, §10.5.1 (legacy region) and §13.4.2 (header). */
export const XSAVE_FCW = 0;
export const XSAVE_FSW = 2;
export const XSAVE_FTW = 4;
export const XSAVE_FIP = 8;
export const XSAVE_FDP = 16;
export const XSAVE_MXCSR = 24;
export const XSAVE_MXCSR_MASK = 28;
export const XSAVE_ST = 32;
export const XSAVE_XMM = 160;
export const XSAVE_XSTATE_BV = 512;
export const XSAVE_XCOMP_BV = 520;
export const XSAVE_EXTENDED_REGION = 576;

/** MXCSR in its initial configuration: all exceptions masked. */
export const MXCSR_INITIAL = 0x1f80;
/** The bits that MXCSR has where MXCSR_MASK reads 0. Intel SDM vol. 1, §11.6.6. */
const MXCSR_MASK_DEFAULT = 0xffbf;

/** The bits that may be set in MXCSR. */
export function mxcsrMask(state: ExtendedState): number {
  return state.view.getUint32(XSAVE_MXCSR_MASK, true) || MXCSR_MASK_DEFAULT;
}

/** Notes in XSTATE_BV that a component (0 or 1: below 8) is not in its initial configuration any more. */
export function markInUse(state: ExtendedState, feature: number): void {
  state.image[XSAVE_XSTATE_BV]! |= feature;
}
