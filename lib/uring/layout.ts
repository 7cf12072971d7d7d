import { array, bytes, s32, struct, u8, u16, u32, u64 } from '../kvm/layout.ts';

/** io_uring's interface to user space (Linux: <linux/io_uring.h>). */

const io_sqring_offsets = struct('io_sqring_offsets', {
  head: u32,
  tail: u32,
  ring_mask: u32,
  ring_entries: u32,
  flags: u32,
  dropped: u32,
  array: u32,
  resv1: u32,
  /** `resv2` before Linux 6.5. With IORING_SETUP_NO_MMAP, the address of the submission entries. */
  user_addr: u64,
});

const io_cqring_offsets = struct('io_cqring_offsets', {
  head: u32,
  tail: u32,
  ring_mask: u32,
  ring_entries: u32,
  overflow: u32,
  cqes: u32,
  flags: u32,
  resv1: u32,
  /** `resv2` before Linux 6.5. With IORING_SETUP_NO_MMAP, the address of both rings. */
  user_addr: u64,
});

/** What `io_uring_setup` is given, and gives back. */
export const io_uring_params = struct('io_uring_params', {
  sq_entries: u32,
  cq_entries: u32,
  flags: u32,
  sq_thread_cpu: u32,
  sq_thread_idle: u32,
  features: u32,
  wq_fd: u32,
  resv: bytes(12),
  sq_off: io_sqring_offsets,
  cq_off: io_cqring_offsets,
});

/** A submission queue entry, with the members that mvm uses. */
export const io_uring_sqe = struct('io_uring_sqe', {
  opcode: u8,
  flags: u8,
  ioprio: u16,
  fd: s32,
  off: u64,
  addr: u64,
  len: u32,
  rw_flags: u32,
  user_data: u64,
  buf_index: u16,
  personality: u16,
  file_index: u32,
  addr3: u64,
  __pad2: bytes(8),
});

/** A completion queue entry. */
export const io_uring_cqe = struct('io_uring_cqe', { user_data: u64, res: s32, flags: u32 });

/** Argument of `IORING_REGISTER_FILES_UPDATE`: `data` is the address of the descriptors. */
export const io_uring_rsrc_update = struct('io_uring_rsrc_update', { offset: u32, resv: u32, data: u64 });

/** What a ring is restricted to: an operation (of entries, or of io_uring_register), or flags of entries. */
export const io_uring_restriction = struct('io_uring_restriction', {
  opcode: u16,
  op: u8,
  resv: u8,
  resv2: array(u32, 3),
});

export const IORING_SETUP_R_DISABLED = 1 << 6;
export const IORING_SETUP_SUBMIT_ALL = 1 << 7;
export const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
export const IORING_SETUP_NO_MMAP = 1 << 14;

export const IORING_FEAT_SINGLE_MMAP = 1 << 0;
export const IORING_FEAT_NODROP = 1 << 1;
export const IORING_FEAT_SUBMIT_STABLE = 1 << 2;

export const IORING_OFF_SQ_RING = 0;
export const IORING_OFF_SQES = 0x1000_0000;

export const IORING_ENTER_GETEVENTS = 1 << 0;

/** Bit of the completion ring's flags, set by user space. */
export const IORING_CQ_EVENTFD_DISABLED = 1 << 0;

export const IOSQE_FIXED_FILE = 1 << 0;

export const IORING_OP_READV = 1;
export const IORING_OP_WRITEV = 2;
export const IORING_OP_FSYNC = 3;
export const IORING_OP_FALLOCATE = 17;
export const IORING_OP_READ = 22;
export const IORING_OP_WRITE = 23;

export const IORING_FSYNC_DATASYNC = 1 << 0;

export const IORING_REGISTER_FILES = 2;
export const IORING_REGISTER_EVENTFD = 4;
export const IORING_REGISTER_FILES_UPDATE = 6;
export const IORING_REGISTER_RESTRICTIONS = 11;
export const IORING_REGISTER_ENABLE_RINGS = 12;

export const IORING_RESTRICTION_REGISTER_OP = 0;
export const IORING_RESTRICTION_SQE_OP = 1;
export const IORING_RESTRICTION_SQE_FLAGS_ALLOWED = 2;
export const IORING_RESTRICTION_SQE_FLAGS_REQUIRED = 3;
