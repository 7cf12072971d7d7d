import { array, flexible, struct, u32 } from '../layout.ts';

/** One CPUID leaf. */
export const kvm_cpuid_entry2 = struct('kvm_cpuid_entry2', {
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(u32, 3),
});
/** The entry holds for its `index` (ECX) only. */
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;

/** `KVM_GET_SUPPORTED_CPUID`, `KVM_SET_CPUID2`: `nent` × `kvm_cpuid_entry2`. */
export const kvm_cpuid2 = struct('kvm_cpuid2', { nent: u32, padding: u32, entries: flexible(kvm_cpuid_entry2) });
