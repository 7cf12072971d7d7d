/**
 * The block that a vCPU thread (lib/native/vcpu.S) and JavaScript share, one cache line a vCPU: offsets in bytes.
 *
 * `state` says who owns the vCPU. Its owner writes it with a full barrier to hand over, and only then looks whether the other
 * side sleeps (`PARKED` here, the loop's `sleeping` word there).
 */
export const CONTROL_BLOCK_SIZE = 64;

export const ControlBlock = {
  /** u32, futex word: `OWNER_THREAD` or `OWNER_JAVASCRIPT`. */
  STATE: 0,
  /** i32: what KVM_RUN returned, 0 or -errno; before the first run -EINTR; -ENOSYS with `STOPPED_CALL`. */
  RESULT: 4,
  /** i32 */
  VCPU_FD: 8,
  /** u32: looks at `STATE` before the thread parks. */
  SPINS: 12,
  /** u64: host address of the loop's `sleeping` word. */
  SLEEPING: 16,
  /** i32: the loop's eventfd. */
  WAKE_FD: 24,
  /** u32: 1 while the thread is (about to be) in futex. */
  PARKED: 28,
  /** u64: host address of a block of system calls that the thread makes first (lib/native/calls.S), or 0. */
  CALLS: 32,
  /** u32: 1 makes the thread leave instead of running the guest. */
  STOP: 40,
  /** u32: one more than the number of the system call that the thread's filter stopped, or 0. */
  STOPPED_CALL: 44,
  /** u64: 1, what is added to the eventfd. */
  ONE: 48,
  /** i32: the thread's id (gettid(2)), 0 before it has begun. */
  THREAD_ID: 56,
} as const;

export const OWNER_THREAD = 0;
export const OWNER_JAVASCRIPT = 1;
