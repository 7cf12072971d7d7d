import { at, bytes, flexible, pointer, struct, u32, u64 } from '../layout.ts';

/** `KVM_SET_USER_MEMORY_REGION`: a slot of guest memory. A size of 0 removes it. */
export const kvm_userspace_memory_region = struct('kvm_userspace_memory_region', {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
});

/** `KVM_SET_USER_MEMORY_REGION2` (Linux 6.8, `KVM_CAP_USER_MEMORY2`). */
export const kvm_userspace_memory_region2 = struct('kvm_userspace_memory_region2', {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
  guest_memfd_offset: u64,
  guest_memfd: u32,
  pad1: u32,
  pad2: bytes(14 * 8),
});

export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_MEM_READONLY = 2;
export const KVM_MEM_GUEST_MEMFD = 4;

/** `KVM_GET_DIRTY_LOG`: one bit a page, in 64-bit words. */
export const kvm_dirty_log = struct('kvm_dirty_log', {
  slot: u32,
  padding1: u32,
  dirty_bitmap: pointer,
  padding2: at(8, u64),
});

/** `KVM_CLEAR_DIRTY_LOG` (`KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2`). */
export const kvm_clear_dirty_log = struct('kvm_clear_dirty_log', {
  slot: u32,
  num_pages: u32,
  first_page: u64,
  dirty_bitmap: pointer,
  padding2: at(16, u64),
});
export const KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE = 1;
export const KVM_DIRTY_LOG_INITIALLY_SET = 2;

/** An entry of a vCPU's dirty ring (`KVM_CAP_DIRTY_LOG_RING`). */
export const kvm_dirty_gfn = struct('kvm_dirty_gfn', { flags: u32, slot: u32, offset: u64 });
export const KVM_DIRTY_GFN_F_DIRTY = 1;
export const KVM_DIRTY_GFN_F_RESET = 2;

/** `KVM_REGISTER_COALESCED_MMIO`, `KVM_UNREGISTER_COALESCED_MMIO`; `pio` 1 makes it ports. */
export const kvm_coalesced_mmio_zone = struct('kvm_coalesced_mmio_zone', {
  addr: u64,
  size: u32,
  pio: u32,
  pad: at(12, u32),
});

/** One coalesced write. */
export const kvm_coalesced_mmio = struct('kvm_coalesced_mmio', {
  phys_addr: u64,
  len: u32,
  pio: u32,
  pad: at(12, u32),
  data: bytes(8),
});

/** The page of coalesced writes: KVM puts at `last`, user space takes at `first`. */
export const kvm_coalesced_mmio_ring = struct('kvm_coalesced_mmio_ring', {
  first: u32,
  last: u32,
  coalesced_mmio: flexible(kvm_coalesced_mmio),
});
/** Entries of the ring: what fits in its page. */
export const KVM_COALESCED_MMIO_MAX = Math.floor((4096 - kvm_coalesced_mmio_ring.size) / kvm_coalesced_mmio.size);
