import { parameterValue } from '../boot/cmdline.ts';

/** `X86_FEATURE_POPCNT` (Linux: arch/x86/include/asm/cpufeatures.h): kernels before 5.19 take the number only. */
const X86_FEATURE_POPCNT = 4 * 32 + 23;

/**
 * What a Linux kernel has to be told on KVM-PVM, where its code is emulated.
 *
 * @param cmdline the user's; what it says already stays as it is
 */
export function pvmParameters(cmdline: string): string[] {
  // It asks for a clock by a hypercall that no CPUID bit can hide, and hypercalls from CPL 0 never return there.
  const parameters = ['initcall_blacklist=ptp_kvm_init'];
  // The emulator does not know the instruction, and CPUID shows it whatever KVM is told. Completing each one costs 20 µs.
  if (parameterValue(cmdline, 'clearcpuid') === undefined) parameters.push(`clearcpuid=${X86_FEATURE_POPCNT}`);
  return parameters;
}
