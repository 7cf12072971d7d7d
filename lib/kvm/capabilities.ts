/**
 * What mvm asks of KVM (`KVM_CHECK_EXTENSION`): each capability by its number, what it is for, and what is lost without it.
 * Required ones must be there; mvm does without the rest.
 */

export const KVM_CAP_IRQCHIP = 0;
export const KVM_CAP_HLT = 1;
export const KVM_CAP_USER_MEMORY = 3;
export const KVM_CAP_SET_TSS_ADDR = 4;
export const KVM_CAP_EXT_CPUID = 7;
export const KVM_CAP_NR_VCPUS = 9;
export const KVM_CAP_NR_MEMSLOTS = 10;
export const KVM_CAP_MP_STATE = 14;
export const KVM_CAP_COALESCED_MMIO = 15;
export const KVM_CAP_SYNC_MMU = 16;
export const KVM_CAP_DESTROY_MEMORY_REGION_WORKS = 21;
export const KVM_CAP_USER_NMI = 22;
export const KVM_CAP_SET_GUEST_DEBUG = 23;
export const KVM_CAP_REINJECT_CONTROL = 24;
export const KVM_CAP_IRQ_ROUTING = 25;
export const KVM_CAP_IRQFD = 32;
export const KVM_CAP_PIT2 = 33;
export const KVM_CAP_PIT_STATE2 = 35;
export const KVM_CAP_IOEVENTFD = 36;
export const KVM_CAP_SET_IDENTITY_MAP_ADDR = 37;
export const KVM_CAP_ADJUST_CLOCK = 39;
export const KVM_CAP_INTERNAL_ERROR_DATA = 40;
export const KVM_CAP_VCPU_EVENTS = 41;
export const KVM_CAP_DEBUGREGS = 50;
export const KVM_CAP_ENABLE_CAP = 54;
export const KVM_CAP_XSAVE = 55;
export const KVM_CAP_XCRS = 56;
export const KVM_CAP_TSC_CONTROL = 60;
export const KVM_CAP_GET_TSC_KHZ = 61;
export const KVM_CAP_MAX_VCPUS = 66;
export const KVM_CAP_TSC_DEADLINE_TIMER = 72;
export const KVM_CAP_SYNC_REGS = 74;
export const KVM_CAP_KVMCLOCK_CTRL = 76;
export const KVM_CAP_SIGNAL_MSI = 77;
export const KVM_CAP_READONLY_MEM = 81;
export const KVM_CAP_IRQFD_RESAMPLE = 82;
export const KVM_CAP_ENABLE_CAP_VM = 98;
export const KVM_CAP_IOEVENTFD_NO_LENGTH = 100;
export const KVM_CAP_CHECK_EXTENSION_VM = 105;
export const KVM_CAP_SPLIT_IRQCHIP = 121;
export const KVM_CAP_IOEVENTFD_ANY_LENGTH = 122;
export const KVM_CAP_MAX_VCPU_ID = 128;
export const KVM_CAP_X2APIC_API = 129;
export const KVM_CAP_IMMEDIATE_EXIT = 136;
export const KVM_CAP_X86_DISABLE_EXITS = 143;
export const KVM_CAP_GET_MSR_FEATURES = 153;
export const KVM_CAP_NESTED_STATE = 157;
export const KVM_CAP_COALESCED_PIO = 162;
export const KVM_CAP_EXCEPTION_PAYLOAD = 164;
export const KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 = 168;
export const KVM_CAP_X86_USER_SPACE_MSR = 188;
export const KVM_CAP_X86_MSR_FILTER = 189;
export const KVM_CAP_ENFORCE_PV_FEATURE_CPUID = 190;
export const KVM_CAP_DIRTY_LOG_RING = 192;
export const KVM_CAP_X86_BUS_LOCK_EXIT = 193;
export const KVM_CAP_SREGS2 = 200;
export const KVM_CAP_BINARY_STATS_FD = 203;
export const KVM_CAP_EXIT_ON_EMULATION_FAILURE = 204;
export const KVM_CAP_XSAVE2 = 208;
export const KVM_CAP_PMU_CAPABILITY = 212;
export const KVM_CAP_DISABLE_QUIRKS2 = 213;
export const KVM_CAP_VM_TSC_CONTROL = 214;
export const KVM_CAP_X86_TRIPLE_FAULT_EVENT = 218;
export const KVM_CAP_X86_NOTIFY_VMEXIT = 219;
export const KVM_CAP_USER_MEMORY2 = 231;
export const KVM_CAP_MEMORY_FAULT_INFO = 232;

export interface Capability {
  readonly name: string;
  readonly number: number;
  /** `value`: its answer is a number, not yes or no. */
  readonly need: 'required' | 'optional' | 'value';
  /** What mvm has it for: goes into a sentence after "for". */
  readonly purpose: string;
  /** What follows where it is missing: a clause. Only of optional ones. */
  readonly without?: string;
}

/** All that mvm looks at, in the order of their numbers. */
export function capabilities(): Capability[] {
  return [
    required('KVM_CAP_IRQCHIP', KVM_CAP_IRQCHIP, 'interrupt controllers (PIC, IOAPIC, local APICs) inside KVM'),
    required('KVM_CAP_HLT', KVM_CAP_HLT, 'a halted vCPU sleeps in the kernel'),
    required('KVM_CAP_USER_MEMORY', KVM_CAP_USER_MEMORY, 'guest memory from this process'),
    required(
      'KVM_CAP_SET_TSS_ADDR',
      KVM_CAP_SET_TSS_ADDR,
      'a place for the TSS that Intel CPUs without unrestricted guest need',
    ),
    required('KVM_CAP_EXT_CPUID', KVM_CAP_EXT_CPUID, 'choosing what CPUID tells the guest'),
    value('KVM_CAP_NR_VCPUS', KVM_CAP_NR_VCPUS, 'recommended number of vCPUs'),
    value('KVM_CAP_NR_MEMSLOTS', KVM_CAP_NR_MEMSLOTS, 'number of memory slots'),
    required('KVM_CAP_MP_STATE', KVM_CAP_MP_STATE, 'starting application processors, and saving whether a vCPU runs'),
    optional(
      'KVM_CAP_COALESCED_MMIO',
      KVM_CAP_COALESCED_MMIO,
      'gathers writes to chosen addresses',
      'every write is an exit',
    ),
    required(
      'KVM_CAP_SYNC_MMU',
      KVM_CAP_SYNC_MMU,
      "changes of the host's mappings reach the guest (balloon, memory hotplug, huge pages)",
    ),
    required('KVM_CAP_DESTROY_MEMORY_REGION_WORKS', KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 'memory slots can be removed'),
    optional(
      'KVM_CAP_USER_NMI',
      KVM_CAP_USER_NMI,
      'sending an NMI to a guest',
      'a hung guest cannot be made to report itself',
    ),
    optional(
      'KVM_CAP_SET_GUEST_DEBUG',
      KVM_CAP_SET_GUEST_DEBUG,
      'breakpoints and single steps',
      'the guest cannot be debugged',
    ),
    optional(
      'KVM_CAP_REINJECT_CONTROL',
      KVM_CAP_REINJECT_CONTROL,
      'dropping missed ticks of the PIT',
      'a guest that ran late catches up tick by tick',
    ),
    required('KVM_CAP_IRQ_ROUTING', KVM_CAP_IRQ_ROUTING, 'routes of interrupts and MSIs'),
    required('KVM_CAP_IRQFD', KVM_CAP_IRQFD, 'an eventfd raises an interrupt'),
    required('KVM_CAP_PIT2', KVM_CAP_PIT2, 'the timer that guests calibrate by'),
    optional('KVM_CAP_PIT_STATE2', KVM_CAP_PIT_STATE2, 'saving the PIT', 'no snapshots'),
    required('KVM_CAP_IOEVENTFD', KVM_CAP_IOEVENTFD, "a queue's notification is an eventfd, not an exit"),
    required(
      'KVM_CAP_SET_IDENTITY_MAP_ADDR',
      KVM_CAP_SET_IDENTITY_MAP_ADDR,
      'a place for the identity map that Intel CPUs without unrestricted guest need',
    ),
    optional('KVM_CAP_ADJUST_CLOCK', KVM_CAP_ADJUST_CLOCK, 'saving and setting kvm-clock', 'no snapshots'),
    optional(
      'KVM_CAP_INTERNAL_ERROR_DATA',
      KVM_CAP_INTERNAL_ERROR_DATA,
      'the instruction that KVM gave up on',
      'such an instruction is read from guest memory',
    ),
    required(
      'KVM_CAP_VCPU_EVENTS',
      KVM_CAP_VCPU_EVENTS,
      'queueing an exception in place of an instruction that KVM cannot emulate',
    ),
    optional('KVM_CAP_DEBUGREGS', KVM_CAP_DEBUGREGS, 'saving the debug registers', 'no snapshots'),
    optional(
      'KVM_CAP_ENABLE_CAP',
      KVM_CAP_ENABLE_CAP,
      'switching capabilities on for a vCPU',
      'only what is on by default can be used',
    ),
    required('KVM_CAP_XSAVE', KVM_CAP_XSAVE, 'setting and saving the extended registers'),
    required('KVM_CAP_XCRS', KVM_CAP_XCRS, 'setting and saving XCR0'),
    optional(
      'KVM_CAP_TSC_CONTROL',
      KVM_CAP_TSC_CONTROL,
      "a TSC frequency of the user's choice",
      'a snapshot needs a host of the same TSC frequency',
    ),
    optional(
      'KVM_CAP_GET_TSC_KHZ',
      KVM_CAP_GET_TSC_KHZ,
      'telling the guest its TSC frequency',
      'the guest measures it while booting',
    ),
    value('KVM_CAP_MAX_VCPUS', KVM_CAP_MAX_VCPUS, 'most vCPUs of a VM'),
    optional(
      'KVM_CAP_TSC_DEADLINE_TIMER',
      KVM_CAP_TSC_DEADLINE_TIMER,
      "the precise mode of the local APIC's timer",
      'the guest calibrates the timer by the PIT',
    ),
    optional(
      'KVM_CAP_SYNC_REGS',
      KVM_CAP_SYNC_REGS,
      'registers in the shared page',
      'each read of the registers is a system call',
    ),
    optional(
      'KVM_CAP_KVMCLOCK_CTRL',
      KVM_CAP_KVMCLOCK_CTRL,
      'telling the guest that it was paused',
      'a guest paused for long may report a soft lockup',
    ),
    optional('KVM_CAP_SIGNAL_MSI', KVM_CAP_SIGNAL_MSI, 'an MSI by one system call', 'MSIs go through irqfd alone'),
    optional(
      'KVM_CAP_READONLY_MEM',
      KVM_CAP_READONLY_MEM,
      'memory that the guest cannot write',
      'read-only pmem devices are refused',
    ),
    optional(
      'KVM_CAP_IRQFD_RESAMPLE',
      KVM_CAP_IRQFD_RESAMPLE,
      'level-triggered interrupts by eventfd',
      'level-triggered lines are set by system calls',
    ),
    optional(
      'KVM_CAP_ENABLE_CAP_VM',
      KVM_CAP_ENABLE_CAP_VM,
      'switching capabilities on for a VM',
      'only what is on by default can be used',
    ),
    optional(
      'KVM_CAP_IOEVENTFD_NO_LENGTH',
      KVM_CAP_IOEVENTFD_NO_LENGTH,
      'ioeventfd of any length',
      'notifications are matched by length',
    ),
    optional(
      'KVM_CAP_CHECK_EXTENSION_VM',
      KVM_CAP_CHECK_EXTENSION_VM,
      'asking a VM for its capabilities',
      "the whole KVM's answers are used",
    ),
    optional('KVM_CAP_SPLIT_IRQCHIP', KVM_CAP_SPLIT_IRQCHIP, 'PIC and IOAPIC outside KVM', 'not used without need'),
    optional(
      'KVM_CAP_IOEVENTFD_ANY_LENGTH',
      KVM_CAP_IOEVENTFD_ANY_LENGTH,
      'ioeventfd for MMIO of any length (fast MMIO)',
      'notifications by MMIO decode the instruction',
    ),
    value('KVM_CAP_MAX_VCPU_ID', KVM_CAP_MAX_VCPU_ID, 'highest vCPU number, exclusive'),
    optional('KVM_CAP_X2APIC_API', KVM_CAP_X2APIC_API, '32-bit APIC identifiers', 'at most 255 vCPUs'),
    required('KVM_CAP_IMMEDIATE_EXIT', KVM_CAP_IMMEDIATE_EXIT, 'stopping a vCPU without a race'),
    optional(
      'KVM_CAP_X86_DISABLE_EXITS',
      KVM_CAP_X86_DISABLE_EXITS,
      'letting a vCPU halt or wait without an exit',
      'every HLT is an exit',
    ),
    optional(
      'KVM_CAP_GET_MSR_FEATURES',
      KVM_CAP_GET_MSR_FEATURES,
      'MSRs that describe the CPU',
      "feature MSRs keep KVM's defaults",
    ),
    optional('KVM_CAP_NESTED_STATE', KVM_CAP_NESTED_STATE, 'saving a nested guest', 'no snapshots of nested guests'),
    optional(
      'KVM_CAP_COALESCED_PIO',
      KVM_CAP_COALESCED_PIO,
      'gathers writes to chosen ports',
      'every write is an exit',
    ),
    optional(
      'KVM_CAP_EXCEPTION_PAYLOAD',
      KVM_CAP_EXCEPTION_PAYLOAD,
      'saving an exception between its raising and its delivery',
      'a snapshot may lose CR2 or DR6 of a pending exception',
    ),
    optional(
      'KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2',
      KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
      'clearing the dirty log piece by piece',
      'differential snapshots pause the guest longer',
    ),
    optional(
      'KVM_CAP_X86_USER_SPACE_MSR',
      KVM_CAP_X86_USER_SPACE_MSR,
      'MSR accesses that KVM refuses come to mvm',
      'they are #GP in the guest',
    ),
    optional(
      'KVM_CAP_X86_MSR_FILTER',
      KVM_CAP_X86_MSR_FILTER,
      'choosing which MSRs come to mvm',
      'all that KVM knows stay in KVM',
    ),
    optional(
      'KVM_CAP_ENFORCE_PV_FEATURE_CPUID',
      KVM_CAP_ENFORCE_PV_FEATURE_CPUID,
      'paravirtual features hidden from CPUID are off',
      'a guest may use what it was not offered',
    ),
    optional(
      'KVM_CAP_DIRTY_LOG_RING',
      KVM_CAP_DIRTY_LOG_RING,
      'a ring of dirty pages',
      'dirty pages are found in a bitmap',
    ),
    optional(
      'KVM_CAP_X86_BUS_LOCK_EXIT',
      KVM_CAP_X86_BUS_LOCK_EXIT,
      'noticing a guest that locks the bus',
      'such a guest can slow the host',
    ),
    optional(
      'KVM_CAP_SREGS2',
      KVM_CAP_SREGS2,
      "saving PAE's page directory pointers",
      'snapshots of 32-bit PAE guests may fail',
    ),
    optional(
      'KVM_CAP_BINARY_STATS_FD',
      KVM_CAP_BINARY_STATS_FD,
      "KVM's own counters",
      'they are missing from the metrics',
    ),
    optional(
      'KVM_CAP_EXIT_ON_EMULATION_FAILURE',
      KVM_CAP_EXIT_ON_EMULATION_FAILURE,
      'every instruction that KVM gives up on comes to mvm, user-mode ones too',
      'user-mode ones are #UD in the guest',
    ),
    optional(
      'KVM_CAP_XSAVE2',
      KVM_CAP_XSAVE2,
      'extended registers of more than 4 KiB (AMX)',
      'the guest is not offered AMX',
    ),
    optional(
      'KVM_CAP_PMU_CAPABILITY',
      KVM_CAP_PMU_CAPABILITY,
      'switching the virtual PMU off',
      'the guest may see performance counters',
    ),
    optional('KVM_CAP_DISABLE_QUIRKS2', KVM_CAP_DISABLE_QUIRKS2, "switching KVM's quirks off", 'they stay on'),
    optional(
      'KVM_CAP_VM_TSC_CONTROL',
      KVM_CAP_VM_TSC_CONTROL,
      'one TSC frequency for the VM',
      'it is set for each vCPU',
    ),
    optional(
      'KVM_CAP_X86_TRIPLE_FAULT_EVENT',
      KVM_CAP_X86_TRIPLE_FAULT_EVENT,
      'saving a pending triple fault',
      'a snapshot just then loses it',
    ),
    optional(
      'KVM_CAP_X86_NOTIFY_VMEXIT',
      KVM_CAP_X86_NOTIFY_VMEXIT,
      'noticing a vCPU that never takes an interrupt',
      'such a guest can stall its CPU of the host',
    ),
    optional('KVM_CAP_USER_MEMORY2', KVM_CAP_USER_MEMORY2, 'guest memory from guest_memfd', 'not used without need'),
    optional(
      'KVM_CAP_MEMORY_FAULT_INFO',
      KVM_CAP_MEMORY_FAULT_INFO,
      'the address of a failed memory access',
      'a failure of guest memory is reported without its address',
    ),
  ];
}

function required(name: string, number: number, purpose: string): Capability {
  return { name, number, need: 'required', purpose };
}

function optional(name: string, number: number, purpose: string, without: string): Capability {
  return { name, number, need: 'optional', purpose, without };
}

function value(name: string, number: number, purpose: string): Capability {
  return { name, number, need: 'value', purpose };
}

/**
 * The required capabilities that are missing.
 * @param check the answer of `KVM_CHECK_EXTENSION` for a number (0: not there)
 */
export function missingCapabilities(check: (capability: number) => number): Capability[] {
  return capabilities().filter(({ need, number }) => need === 'required' && check(number) <= 0);
}
