/** Model-specific registers, by Linux's names (arch/x86/include/asm/msr-index.h). */
export const MSR_IA32_TSC = 0x10;
export const MSR_IA32_SYSENTER_CS = 0x174;
export const MSR_IA32_SYSENTER_ESP = 0x175;
export const MSR_IA32_SYSENTER_EIP = 0x176;
export const MSR_IA32_MISC_ENABLE = 0x1a0;
export const MSR_IA32_CR_PAT = 0x277;
export const MSR_MTRRdefType = 0x2ff;
export const MSR_IA32_TSC_DEADLINE = 0x6e0;
export const MSR_STAR = 0xc000_0081;
export const MSR_LSTAR = 0xc000_0082;
export const MSR_CSTAR = 0xc000_0083;
export const MSR_SYSCALL_MASK = 0xc000_0084;
export const MSR_KERNEL_GS_BASE = 0xc000_0102;

/** `IA32_MISC_ENABLE` bit 0: fast string operations. Without it Linux takes REP MOVSB for slow (arch/x86/kernel/cpu/intel.c). */
const MISC_ENABLE_FAST_STRING = 1n;
/** `IA32_MTRR_DEF_TYPE`: MTRRs enabled, and memory is write-back (6) where no other register says more. */
const MTRR_ENABLED_WRITE_BACK = (1n << 11n) | 6n;

export interface MsrEntry {
  readonly index: number;
  readonly data: bigint;
}

/** What a vCPU starts Linux with: registers that the kernel expects cleared, and what firmware would have set. */
export function bootMsrs(): MsrEntry[] {
  return [
    { index: MSR_IA32_SYSENTER_CS, data: 0n },
    { index: MSR_IA32_SYSENTER_ESP, data: 0n },
    { index: MSR_IA32_SYSENTER_EIP, data: 0n },
    { index: MSR_STAR, data: 0n },
    { index: MSR_CSTAR, data: 0n },
    { index: MSR_KERNEL_GS_BASE, data: 0n },
    { index: MSR_SYSCALL_MASK, data: 0n },
    { index: MSR_LSTAR, data: 0n },
    // Every vCPU writes the same TSC within a second, so KVM makes their TSCs one (api.rst, KVM_VCPU_TSC_OFFSET).
    { index: MSR_IA32_TSC, data: 0n },
    { index: MSR_IA32_MISC_ENABLE, data: MISC_ENABLE_FAST_STRING },
    { index: MSR_MTRRdefType, data: MTRR_ENABLED_WRITE_BACK },
  ];
}

const VARIABLE_MTRRS = Array.from({ length: 16 }, (_, i) => 0x200 + i);
const FIXED_MTRRS = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

/**
 * The MSRs that a snapshot holds: those that KVM lists, and the memory types, which it does not list.
 *
 * @param listed `KVM_GET_MSR_INDEX_LIST`
 */
export function msrsToSave(listed: readonly number[]): number[] {
  const all = new Set([...listed, ...VARIABLE_MTRRS, ...FIXED_MTRRS, MSR_IA32_CR_PAT, MSR_MTRRdefType]);
  return [...all].sort((a, b) => a - b);
}

/**
 * In which order saved MSRs go back: `first`, then the local APIC's registers, then `afterLapic`. A TSC deadline that is set
 * before the timer is in deadline mode is dropped, and one that is set before the TSC is at the wrong time.
 */
export function restoreOrder(saved: readonly MsrEntry[]): { first: MsrEntry[]; afterLapic: MsrEntry[] } {
  return {
    first: saved.filter(({ index }) => index !== MSR_IA32_TSC_DEADLINE),
    afterLapic: saved.filter(({ index }) => index === MSR_IA32_TSC_DEADLINE),
  };
}
