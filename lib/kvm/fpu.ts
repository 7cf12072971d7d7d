import type { Input } from './layout.ts';
import type { kvm_fpu } from './structs.ts';

/** x87 after FNINIT: all exceptions masked, 64-bit precision, round to nearest (Intel SDM volume 1, section 8.1.5). */
export const BOOT_FCW = 0x37f;
/** MXCSR after reset: all exceptions masked (Intel SDM volume 1, section 10.2.3). */
export const BOOT_MXCSR = 0x1f80;

/**
 * The floating-point state that a vCPU starts with. KVM does not look at `mxcsr` here (arch/x86/kvm/x86.c,
 * `kvm_arch_vcpu_ioctl_set_fpu`): a new vCPU has the reset value, and another goes in by `KVM_SET_XSAVE`.
 */
export const BOOT_FPU: Input<typeof kvm_fpu> = { fcw: BOOT_FCW, mxcsr: BOOT_MXCSR };

/** Where MXCSR lies in an XSAVE area: its first 512 bytes are FXSAVE's (Intel SDM volume 1, table 10-2). */
export const XSAVE_MXCSR_OFFSET = 24;
