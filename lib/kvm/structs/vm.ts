import { array, bytes, flexible, pointer, s16, struct, u8, u16, u32, u64 } from '../layout.ts';

/** `KVM_ENABLE_CAP`. */
export const kvm_enable_cap = struct('kvm_enable_cap', { cap: u32, flags: u32, args: array(u64, 4), pad: bytes(64) });

/** Arguments of `KVM_CAP_X86_DISABLE_EXITS`. */
export const KVM_X86_DISABLE_EXITS_MWAIT = 1;
export const KVM_X86_DISABLE_EXITS_HLT = 2;
export const KVM_X86_DISABLE_EXITS_PAUSE = 4;
export const KVM_X86_DISABLE_EXITS_CSTATE = 8;

/** Arguments of `KVM_CAP_X2APIC_API`. */
export const KVM_X2APIC_API_USE_32BIT_IDS = 1;
export const KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK = 2;

/** A range of `KVM_X86_SET_MSR_FILTER`: one bit an MSR, 1 allows. */
export const kvm_msr_filter_range = struct('kvm_msr_filter_range', {
  flags: u32,
  nmsrs: u32,
  base: u32,
  bitmap: pointer,
});
export const KVM_MSR_FILTER_MAX_RANGES = 16;
/** `KVM_X86_SET_MSR_FILTER`. */
export const kvm_msr_filter = struct('kvm_msr_filter', {
  flags: u32,
  ranges: array(kvm_msr_filter_range, KVM_MSR_FILTER_MAX_RANGES),
});

/** `KVM_CREATE_DEVICE`. */
export const kvm_create_device = struct('kvm_create_device', { type: u32, fd: u32, flags: u32 });
/** `KVM_SET_DEVICE_ATTR`, `KVM_GET_DEVICE_ATTR`, `KVM_HAS_DEVICE_ATTR`. */
export const kvm_device_attr = struct('kvm_device_attr', { flags: u32, group: u32, attr: u64, addr: u64 });
/** The group of a vCPU's attributes that holds `KVM_VCPU_TSC_OFFSET`. */
export const KVM_VCPU_TSC_CTRL = 0;
export const KVM_VCPU_TSC_OFFSET = 0;

/** What a descriptor of `KVM_GET_STATS_FD` begins with; offsets are in bytes of that file. */
export const kvm_stats_header = struct('kvm_stats_header', {
  flags: u32,
  name_size: u32,
  num_desc: u32,
  id_offset: u32,
  desc_offset: u32,
  data_offset: u32,
});
/** One statistic: `size` × `u64` at `data_offset + offset`. */
export const kvm_stats_desc = struct('kvm_stats_desc', {
  flags: u32,
  exponent: s16,
  size: u16,
  offset: u32,
  bucket_size: u32,
  name: flexible(u8),
});
