import type { Input } from './layout.ts';
import type { kvm_fpu } from './structs.ts';

/** x87 after FNINIT: all exceptions masked, 64-bit precision, round to nearest (Intel SDM volume 1, section 8.1.5). */
export const BOOT_FCW = 0x37f;
/** MXCSR after reset: all exceptions masked (Intel SDM volume 1, section 10.2.3). */
export const BOOT_MXCSR = 0x1f80;

/** The floating-point state that a vCPU starts with. */
export const BOOT_FPU: Input<typeof kvm_fpu> = { fcw: BOOT_FCW, mxcsr: BOOT_MXCSR };
