import type { CpuidTable } from './table.ts';

/** `<asm/kvm_para.h>`. */
export const KVM_CPUID_SIGNATURE = 0x4000_0000;
export const KVM_CPUID_FEATURES = 0x4000_0001;

/** Bits of `KVM_CPUID_FEATURES`, EAX. */
export const KVM_FEATURE_CLOCKSOURCE = 0;
export const KVM_FEATURE_NOP_IO_DELAY = 1;
export const KVM_FEATURE_CLOCKSOURCE2 = 3;
export const KVM_FEATURE_ASYNC_PF = 4;
export const KVM_FEATURE_STEAL_TIME = 5;
export const KVM_FEATURE_PV_EOI = 6;
export const KVM_FEATURE_PV_UNHALT = 7;
export const KVM_FEATURE_PV_TLB_FLUSH = 9;
export const KVM_FEATURE_ASYNC_PF_VMEXIT = 10;
export const KVM_FEATURE_PV_SEND_IPI = 11;
export const KVM_FEATURE_POLL_CONTROL = 12;
export const KVM_FEATURE_PV_SCHED_YIELD = 13;
export const KVM_FEATURE_ASYNC_PF_INT = 14;
export const KVM_FEATURE_MSI_EXT_DEST_ID = 15;
export const KVM_FEATURE_HC_MAP_GPA_RANGE = 16;
export const KVM_FEATURE_MIGRATION_CONTROL = 17;
export const KVM_FEATURE_CLOCKSOURCE_STABLE_BIT = 24;

/** Hypervisors' leaf of frequencies: EAX the TSC's, EBX the local APIC timer's, in kHz. VMware's invention; QEMU gives it under KVM too. */
export const TIMING_LEAF = 0x4000_0010;
/** KVM's local APIC timer counts nanoseconds unless `KVM_CAP_X86_APIC_BUS_CYCLES_NS` changes it. */
export const APIC_BUS_KHZ = 1_000_000;

/** What asks user space for something that mvm does not give: memory encryption, migration, more than 255 vCPUs. */
const NEVER = [KVM_FEATURE_MSI_EXT_DEST_ID, KVM_FEATURE_HC_MAP_GPA_RANGE, KVM_FEATURE_MIGRATION_CONTROL];

/**
 * Under KVM-PVM `vmcall` never returns at CPL 0, so what a guest kernel would do by it is hidden: waking a vCPU that waits
 * for a lock, sending interrupts, giving way. Two more call nothing, but rest on what the guest's page tables are while KVM-PVM
 * shadows them: PV_TLB_FLUSH leaves the flush of a preempted vCPU's TLB to KVM, and asynchronous page faults arrive as `#PF`.
 * Guests flush and wait themselves there.
 */
const NOT_UNDER_PVM = [
  KVM_FEATURE_PV_UNHALT,
  KVM_FEATURE_PV_SEND_IPI,
  KVM_FEATURE_PV_SCHED_YIELD,
  KVM_FEATURE_PV_TLB_FLUSH,
  KVM_FEATURE_ASYNC_PF,
  KVM_FEATURE_ASYNC_PF_VMEXIT,
  KVM_FEATURE_ASYNC_PF_INT,
];

/** KVM's own leaves: its name, the highest of them, the features, the frequencies (where `tscKhz` is not 0). */
export function setParavirtLeaves(table: CpuidTable, options: { tscKhz: number; pvm: boolean }): void {
  const signature = table.find(KVM_CPUID_SIGNATURE);
  if (signature === undefined) return;
  signature.eax = options.tscKhz > 0 ? TIMING_LEAF : KVM_CPUID_FEATURES;
  const hidden = options.pvm ? [...NEVER, ...NOT_UNDER_PVM] : NEVER;
  table.change(KVM_CPUID_FEATURES, 'eax', { clear: hidden.reduce((mask, bit) => mask | (1 << bit), 0) });
  table.remove(TIMING_LEAF);
  if (options.tscKhz > 0) table.replace(TIMING_LEAF, { eax: options.tscKhz, ebx: APIC_BUS_KHZ });
}

/**
 * Intel's leaf 15H: the TSC runs at ECX × EBX / EAX Hz. Linux takes the crystal (ECX) for the clock of the local APIC's
 * timer (arch/x86/kernel/tsc.c, `native_calibrate_tsc`), so it is KVM's 1 GHz here.
 */
export function setIntelFrequency(table: CpuidTable, tscKhz: number): void {
  const highest = table.find(0);
  if (highest === undefined || tscKhz === 0) return;
  highest.eax = Math.max(highest.eax, 0x15);
  table.replace(0x15, { eax: APIC_BUS_KHZ, ebx: tscKhz, ecx: APIC_BUS_KHZ * 1000 });
  if (highest.eax >= 0x16) {
    const mhz = Math.round(tscKhz / 1000);
    table.replace(0x16, { eax: mhz, ebx: mhz, ecx: 100 });
  }
}
