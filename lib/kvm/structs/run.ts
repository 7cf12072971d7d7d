import { array, at, bytes, struct, u8, u16, u32, u64, union } from '../layout.ts';
import { kvm_debug_exit_arch, kvm_regs, kvm_sregs, kvm_vcpu_events } from './registers.ts';

/** What `KVM_CAP_SYNC_REGS` shares through `kvm_run.s.regs`. */
export const kvm_sync_regs = struct('kvm_sync_regs', { regs: kvm_regs, sregs: kvm_sregs, events: kvm_vcpu_events });
/** Bits of `kvm_run.kvm_valid_regs` (ask for) and `kvm_run.kvm_dirty_regs` (written by user space). */
export const KVM_SYNC_X86_REGS = 1;
export const KVM_SYNC_X86_SREGS = 2;
export const KVM_SYNC_X86_EVENTS = 4;
/** Bytes of the union that holds `kvm_sync_regs`. */
export const SYNC_REGS_SIZE_BYTES = 2048;

/** The union of the exits starts here. */
const EXIT = 32;

/**
 * The page shared with a vCPU (api.rst section 5): requests to KVM, why `KVM_RUN` returned, and the synchronized registers.
 * The members from `hw` to `memory_fault` are one union; `exit_reason` says which is valid.
 */
export const kvm_run = struct('kvm_run', {
  request_interrupt_window: u8,
  immediate_exit: u8,
  padding1: bytes(6),
  exit_reason: u32,
  ready_for_interrupt_injection: u8,
  if_flag: u8,
  flags: u16,
  cr8: u64,
  apic_base: u64,
  /** `KVM_EXIT_UNKNOWN` */
  hw: at(EXIT, struct(undefined, { hardware_exit_reason: u64 })),
  /** `KVM_EXIT_FAIL_ENTRY` */
  fail_entry: at(EXIT, struct(undefined, { hardware_entry_failure_reason: u64, cpu: u32 })),
  /** `KVM_EXIT_EXCEPTION` */
  ex: at(EXIT, struct(undefined, { exception: u32, error_code: u32 })),
  /** `KVM_EXIT_IO`: `count` items of `size` bytes at `data_offset` from the start of this page. */
  io: at(EXIT, struct(undefined, { direction: u8, size: u8, port: u16, count: u32, data_offset: u64 })),
  /** `KVM_EXIT_DEBUG` */
  debug: at(EXIT, struct(undefined, { arch: kvm_debug_exit_arch })),
  /** `KVM_EXIT_MMIO` */
  mmio: at(EXIT, struct(undefined, { phys_addr: u64, data: bytes(8), len: u32, is_write: u8 })),
  /** `KVM_EXIT_HYPERCALL`; `flags` is the name since Linux 6.4 of what was `longmode` and `pad`. */
  hypercall: at(EXIT, struct(undefined, { nr: u64, args: array(u64, 6), ret: u64, flags: u64 })),
  /** `KVM_EXIT_TPR_ACCESS` */
  tpr_access: at(EXIT, struct(undefined, { rip: u64, is_write: u32, pad: u32 })),
  /** `KVM_EXIT_INTERNAL_ERROR` */
  internal: at(EXIT, struct(undefined, { suberror: u32, ndata: u32, data: array(u64, 16) })),
  /** `KVM_EXIT_INTERNAL_ERROR` with `KVM_INTERNAL_ERROR_EMULATION`; the bytes are valid where `flags` says so. */
  emulation_failure: at(
    EXIT,
    struct(undefined, { suberror: u32, ndata: u32, flags: u64, insn_size: u8, insn_bytes: bytes(15) }),
  ),
  /** `KVM_EXIT_SYSTEM_EVENT` */
  system_event: at(EXIT, struct(undefined, { type: u32, ndata: u32, flags: u64, data: at(8, array(u64, 16)) })),
  /** `KVM_EXIT_IOAPIC_EOI` */
  eoi: at(EXIT, struct(undefined, { vector: u8 })),
  /** `KVM_EXIT_X86_RDMSR`, `KVM_EXIT_X86_WRMSR` */
  msr: at(EXIT, struct(undefined, { error: u8, pad: bytes(7), reason: u32, index: u32, data: u64 })),
  /** `KVM_EXIT_NOTIFY` */
  notify: at(EXIT, struct(undefined, { flags: u32 })),
  /** `KVM_EXIT_MEMORY_FAULT` (Linux 6.8) */
  memory_fault: at(EXIT, struct(undefined, { flags: u64, gpa: u64, size: u64 })),
  padding: at(EXIT, bytes(256)),
  kvm_valid_regs: u64,
  kvm_dirty_regs: u64,
  s: union({ regs: kvm_sync_regs, padding: bytes(SYNC_REGS_SIZE_BYTES) }),
});

/** Bits of `kvm_run.flags` on x86. */
export const KVM_RUN_X86_SMM = 1;
export const KVM_RUN_X86_BUS_LOCK = 2;

/** Which page of the vCPU's mapping: the I/O data page, the coalesced ring, the first of the dirty ring. */
export const KVM_PIO_PAGE_OFFSET = 1;
export const KVM_COALESCED_MMIO_PAGE_OFFSET = 2;
export const KVM_DIRTY_LOG_PAGE_OFFSET = 64;
