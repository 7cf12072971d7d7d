import { u64 } from './layout.ts';
import {
  kvm_clear_dirty_log,
  kvm_clock_data,
  kvm_coalesced_mmio_zone,
  kvm_cpuid2,
  kvm_create_device,
  kvm_debugregs,
  kvm_device_attr,
  kvm_dirty_log,
  kvm_enable_cap,
  kvm_fpu,
  kvm_guest_debug,
  kvm_interrupt,
  kvm_ioeventfd,
  kvm_irq_level,
  kvm_irq_routing,
  kvm_irqchip,
  kvm_irqfd,
  kvm_lapic_state,
  kvm_mp_state,
  kvm_msi,
  kvm_msr_filter,
  kvm_msr_list,
  kvm_msrs,
  kvm_pit_config,
  kvm_pit_state,
  kvm_pit_state2,
  kvm_regs,
  kvm_signal_mask,
  kvm_sregs,
  kvm_sregs2,
  kvm_translation,
  kvm_userspace_memory_region,
  kvm_userspace_memory_region2,
  kvm_vcpu_events,
  kvm_xcrs,
  kvm_xsave,
} from './structs.ts';

// <asm-generic/ioctl.h>: number 8 bits, type 8, size 14, direction 2.
const KVMIO = 0xae;
const _IOC_WRITE = 1;
const _IOC_READ = 2;

function _IOC(direction: number, nr: number, size: number): number {
  return ((direction << 30) | (size << 16) | (KVMIO << 8) | nr) >>> 0;
}

interface Sized {
  readonly size: number;
}

/* @__NO_SIDE_EFFECTS__ */
function _IO(nr: number): number {
  return _IOC(0, nr, 0);
}

/* @__NO_SIDE_EFFECTS__ */
function _IOR(nr: number, type: Sized): number {
  return _IOC(_IOC_READ, nr, type.size);
}

/* @__NO_SIDE_EFFECTS__ */
function _IOW(nr: number, type: Sized): number {
  return _IOC(_IOC_WRITE, nr, type.size);
}

/* @__NO_SIDE_EFFECTS__ */
function _IOWR(nr: number, type: Sized): number {
  return _IOC(_IOC_READ | _IOC_WRITE, nr, type.size);
}

// On /dev/kvm. `KVM_CHECK_EXTENSION` works on a VM too.
export const KVM_GET_API_VERSION = _IO(0x00);
export const KVM_CREATE_VM = _IO(0x01);
export const KVM_GET_MSR_INDEX_LIST = _IOWR(0x02, kvm_msr_list);
export const KVM_CHECK_EXTENSION = _IO(0x03);
export const KVM_GET_VCPU_MMAP_SIZE = _IO(0x04);
export const KVM_GET_SUPPORTED_CPUID = _IOWR(0x05, kvm_cpuid2);
export const KVM_GET_EMULATED_CPUID = _IOWR(0x09, kvm_cpuid2);
export const KVM_GET_MSR_FEATURE_INDEX_LIST = _IOWR(0x0a, kvm_msr_list);

// On a VM. `KVM_*_DEVICE_ATTR` works on a vCPU too, `KVM_ENABLE_CAP` (below) on a VM too.
export const KVM_CREATE_VCPU = _IO(0x41);
export const KVM_GET_DIRTY_LOG = _IOW(0x42, kvm_dirty_log);
export const KVM_SET_NR_MMU_PAGES = _IO(0x44);
export const KVM_GET_NR_MMU_PAGES = _IO(0x45);
export const KVM_SET_USER_MEMORY_REGION = _IOW(0x46, kvm_userspace_memory_region);
export const KVM_SET_TSS_ADDR = _IO(0x47);
export const KVM_SET_IDENTITY_MAP_ADDR = _IOW(0x48, u64);
export const KVM_SET_USER_MEMORY_REGION2 = _IOW(0x49, kvm_userspace_memory_region2);
export const KVM_CREATE_IRQCHIP = _IO(0x60);
export const KVM_IRQ_LINE = _IOW(0x61, kvm_irq_level);
export const KVM_GET_IRQCHIP = _IOWR(0x62, kvm_irqchip);
export const KVM_SET_IRQCHIP = _IOR(0x63, kvm_irqchip);
export const KVM_CREATE_PIT = _IO(0x64);
export const KVM_GET_PIT = _IOWR(0x65, kvm_pit_state);
export const KVM_SET_PIT = _IOR(0x66, kvm_pit_state);
export const KVM_IRQ_LINE_STATUS = _IOWR(0x67, kvm_irq_level);
export const KVM_REGISTER_COALESCED_MMIO = _IOW(0x67, kvm_coalesced_mmio_zone);
export const KVM_UNREGISTER_COALESCED_MMIO = _IOW(0x68, kvm_coalesced_mmio_zone);
export const KVM_SET_GSI_ROUTING = _IOW(0x6a, kvm_irq_routing);
export const KVM_REINJECT_CONTROL = _IO(0x71);
export const KVM_IRQFD = _IOW(0x76, kvm_irqfd);
export const KVM_CREATE_PIT2 = _IOW(0x77, kvm_pit_config);
export const KVM_SET_BOOT_CPU_ID = _IO(0x78);
export const KVM_IOEVENTFD = _IOW(0x79, kvm_ioeventfd);
export const KVM_SET_CLOCK = _IOW(0x7b, kvm_clock_data);
export const KVM_GET_CLOCK = _IOR(0x7c, kvm_clock_data);
export const KVM_GET_PIT2 = _IOR(0x9f, kvm_pit_state2);
export const KVM_SET_PIT2 = _IOW(0xa0, kvm_pit_state2);
export const KVM_SET_TSC_KHZ = _IO(0xa2);
export const KVM_GET_TSC_KHZ = _IO(0xa3);
export const KVM_SIGNAL_MSI = _IOW(0xa5, kvm_msi);
export const KVM_CLEAR_DIRTY_LOG = _IOWR(0xc0, kvm_clear_dirty_log);
export const KVM_X86_SET_MSR_FILTER = _IOW(0xc6, kvm_msr_filter);
export const KVM_RESET_DIRTY_RINGS = _IO(0xc7);
export const KVM_GET_STATS_FD = _IO(0xce);
export const KVM_CREATE_DEVICE = _IOWR(0xe0, kvm_create_device);
export const KVM_SET_DEVICE_ATTR = _IOW(0xe1, kvm_device_attr);
export const KVM_GET_DEVICE_ATTR = _IOW(0xe2, kvm_device_attr);
export const KVM_HAS_DEVICE_ATTR = _IOW(0xe3, kvm_device_attr);

// On a vCPU.
export const KVM_RUN = _IO(0x80);
export const KVM_GET_REGS = _IOR(0x81, kvm_regs);
export const KVM_SET_REGS = _IOW(0x82, kvm_regs);
export const KVM_GET_SREGS = _IOR(0x83, kvm_sregs);
export const KVM_SET_SREGS = _IOW(0x84, kvm_sregs);
export const KVM_TRANSLATE = _IOWR(0x85, kvm_translation);
export const KVM_INTERRUPT = _IOW(0x86, kvm_interrupt);
export const KVM_GET_MSRS = _IOWR(0x88, kvm_msrs);
export const KVM_SET_MSRS = _IOW(0x89, kvm_msrs);
export const KVM_SET_SIGNAL_MASK = _IOW(0x8b, kvm_signal_mask);
export const KVM_GET_FPU = _IOR(0x8c, kvm_fpu);
export const KVM_SET_FPU = _IOW(0x8d, kvm_fpu);
export const KVM_GET_LAPIC = _IOR(0x8e, kvm_lapic_state);
export const KVM_SET_LAPIC = _IOW(0x8f, kvm_lapic_state);
export const KVM_SET_CPUID2 = _IOW(0x90, kvm_cpuid2);
export const KVM_GET_CPUID2 = _IOWR(0x91, kvm_cpuid2);
export const KVM_GET_MP_STATE = _IOR(0x98, kvm_mp_state);
export const KVM_SET_MP_STATE = _IOW(0x99, kvm_mp_state);
export const KVM_NMI = _IO(0x9a);
export const KVM_SET_GUEST_DEBUG = _IOW(0x9b, kvm_guest_debug);
export const KVM_GET_VCPU_EVENTS = _IOR(0x9f, kvm_vcpu_events);
export const KVM_SET_VCPU_EVENTS = _IOW(0xa0, kvm_vcpu_events);
export const KVM_GET_DEBUGREGS = _IOR(0xa1, kvm_debugregs);
export const KVM_SET_DEBUGREGS = _IOW(0xa2, kvm_debugregs);
export const KVM_ENABLE_CAP = _IOW(0xa3, kvm_enable_cap);
export const KVM_GET_XSAVE = _IOR(0xa4, kvm_xsave);
export const KVM_SET_XSAVE = _IOW(0xa5, kvm_xsave);
export const KVM_GET_XCRS = _IOR(0xa6, kvm_xcrs);
export const KVM_SET_XCRS = _IOW(0xa7, kvm_xcrs);
export const KVM_KVMCLOCK_CTRL = _IO(0xad);
export const KVM_SMI = _IO(0xb7);
export const KVM_GET_SREGS2 = _IOR(0xcc, kvm_sregs2);
export const KVM_SET_SREGS2 = _IOW(0xcd, kvm_sregs2);
export const KVM_GET_XSAVE2 = _IOR(0xcf, kvm_xsave);
