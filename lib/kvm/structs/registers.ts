import { array, bytes, flexible, struct, u8, u16, u32, u64 } from '../layout.ts';

/** `KVM_GET_REGS`, `KVM_SET_REGS`. */
export const kvm_regs = struct('kvm_regs', {
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
});

/** A segment register with its hidden part. `limit` is in bytes, already scaled by `g`. */
export const kvm_segment = struct('kvm_segment', {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});

/** GDTR or IDTR. */
export const kvm_dtable = struct('kvm_dtable', { base: u64, limit: u16, padding: array(u16, 3) });

const segmentsAndControl = {
  cs: kvm_segment,
  ds: kvm_segment,
  es: kvm_segment,
  fs: kvm_segment,
  gs: kvm_segment,
  ss: kvm_segment,
  tr: kvm_segment,
  ldt: kvm_segment,
  gdt: kvm_dtable,
  idt: kvm_dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
};

/** `KVM_NR_INTERRUPTS`: vectors, one bit each in `kvm_sregs.interrupt_bitmap`. */
export const KVM_NR_INTERRUPTS = 256;

/** `KVM_GET_SREGS`, `KVM_SET_SREGS`. */
export const kvm_sregs = struct('kvm_sregs', {
  ...segmentsAndControl,
  interrupt_bitmap: array(u64, KVM_NR_INTERRUPTS / 64),
});

/** `KVM_GET_SREGS2`, `KVM_SET_SREGS2` (`KVM_CAP_SREGS2`). */
export const kvm_sregs2 = struct('kvm_sregs2', { ...segmentsAndControl, flags: u64, pdptrs: array(u64, 4) });
export const KVM_SREGS2_FLAGS_PDPTRS_VALID = 1;

/** `KVM_GET_FPU`, `KVM_SET_FPU`. `ftwx` is the abridged tag word of FXSAVE. */
export const kvm_fpu = struct('kvm_fpu', {
  fpr: array(bytes(16), 8),
  fcw: u16,
  fsw: u16,
  ftwx: u8,
  pad1: u8,
  last_opcode: u16,
  last_ip: u64,
  last_dp: u64,
  xmm: array(bytes(16), 16),
  mxcsr: u32,
  pad2: u32,
});

/** `KVM_GET_XSAVE`, `KVM_SET_XSAVE`; `KVM_GET_XSAVE2` writes as many bytes as `KVM_CAP_XSAVE2` on the VM says. The area of XSAVE. */
export const kvm_xsave = struct('kvm_xsave', { region: array(u32, 1024), extra: flexible(u32) });

/** One extended control register. */
export const kvm_xcr = struct('kvm_xcr', { xcr: u32, reserved: u32, value: u64 });
export const KVM_MAX_XCRS = 16;

/** `KVM_GET_XCRS`, `KVM_SET_XCRS`. */
export const kvm_xcrs = struct('kvm_xcrs', {
  nr_xcrs: u32,
  flags: u32,
  xcrs: array(kvm_xcr, KVM_MAX_XCRS),
  padding: array(u64, 16),
});

/** `KVM_GET_DEBUGREGS`, `KVM_SET_DEBUGREGS`. */
export const kvm_debugregs = struct('kvm_debugregs', {
  db: array(u64, 4),
  dr6: u64,
  dr7: u64,
  flags: u64,
  reserved: array(u64, 9),
});

/** `KVM_GET_VCPU_EVENTS`, `KVM_SET_VCPU_EVENTS`: what is pending or being delivered. */
export const kvm_vcpu_events = struct('kvm_vcpu_events', {
  exception: struct(undefined, { injected: u8, nr: u8, has_error_code: u8, pending: u8, error_code: u32 }),
  interrupt: struct(undefined, { injected: u8, nr: u8, soft: u8, shadow: u8 }),
  nmi: struct(undefined, { injected: u8, pending: u8, masked: u8, pad: u8 }),
  sipi_vector: u32,
  flags: u32,
  smi: struct(undefined, { smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8 }),
  triple_fault: struct(undefined, { pending: u8 }),
  reserved: bytes(26),
  exception_has_payload: u8,
  exception_payload: u64,
});
export const KVM_VCPUEVENT_VALID_NMI_PENDING = 0x01;
export const KVM_VCPUEVENT_VALID_SIPI_VECTOR = 0x02;
export const KVM_VCPUEVENT_VALID_SHADOW = 0x04;
export const KVM_VCPUEVENT_VALID_SMM = 0x08;
export const KVM_VCPUEVENT_VALID_PAYLOAD = 0x10;
export const KVM_VCPUEVENT_VALID_TRIPLE_FAULT = 0x20;
export const KVM_X86_SHADOW_INT_MOV_SS = 0x01;
export const KVM_X86_SHADOW_INT_STI = 0x02;

/** `KVM_GET_MP_STATE`, `KVM_SET_MP_STATE`: one of `KVM_MP_STATE_*`. */
export const kvm_mp_state = struct('kvm_mp_state', { mp_state: u32 });

/** Bytes of the local APIC's register page that KVM saves. */
export const KVM_APIC_REG_SIZE = 0x400;
/** `KVM_GET_LAPIC`, `KVM_SET_LAPIC`: the register page, one 32-bit register each 16 bytes. */
export const kvm_lapic_state = struct('kvm_lapic_state', { regs: bytes(KVM_APIC_REG_SIZE) });

/** One model-specific register. */
export const kvm_msr_entry = struct('kvm_msr_entry', { index: u32, reserved: u32, data: u64 });
/** `KVM_GET_MSRS`, `KVM_SET_MSRS`: `nmsrs` × `kvm_msr_entry`. */
export const kvm_msrs = struct('kvm_msrs', { nmsrs: u32, pad: u32, entries: flexible(kvm_msr_entry) });
/** `KVM_GET_MSR_INDEX_LIST`: `nmsrs` × `u32`. */
export const kvm_msr_list = struct('kvm_msr_list', { nmsrs: u32, indices: flexible(u32) });

/** `KVM_TRANSLATE`: a linear address through the guest's page tables. */
export const kvm_translation = struct('kvm_translation', {
  linear_address: u64,
  physical_address: u64,
  valid: u8,
  writeable: u8,
  usermode: u8,
  pad: bytes(5),
});

/** `KVM_INTERRUPT`: a vector, where the irqchip is in user space. */
export const kvm_interrupt = struct('kvm_interrupt', { irq: u32 });

/** `KVM_SET_SIGNAL_MASK`: `len` (8) bytes of the kernel's sigset. */
export const kvm_signal_mask = struct('kvm_signal_mask', { len: u32, sigset: flexible(u8) });

/** The part of `kvm_guest_debug` and of a `KVM_EXIT_DEBUG` that is x86's. */
export const kvm_guest_debug_arch = struct('kvm_guest_debug_arch', { debugreg: array(u64, 8) });
export const kvm_debug_exit_arch = struct('kvm_debug_exit_arch', {
  exception: u32,
  pad: u32,
  pc: u64,
  dr6: u64,
  dr7: u64,
});
/** `KVM_SET_GUEST_DEBUG`. */
export const kvm_guest_debug = struct('kvm_guest_debug', { control: u32, pad: u32, arch: kvm_guest_debug_arch });
export const KVM_GUESTDBG_ENABLE = 0x0000_0001;
export const KVM_GUESTDBG_SINGLESTEP = 0x0000_0002;
export const KVM_GUESTDBG_USE_SW_BP = 0x0001_0000;
export const KVM_GUESTDBG_USE_HW_BP = 0x0002_0000;
export const KVM_GUESTDBG_INJECT_DB = 0x0004_0000;
export const KVM_GUESTDBG_INJECT_BP = 0x0008_0000;
export const KVM_GUESTDBG_BLOCKIRQ = 0x0010_0000;
