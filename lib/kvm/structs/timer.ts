import { array, bytes, s64, struct, u8, u16, u32, u64 } from '../layout.ts';

/** `KVM_CREATE_PIT2`. */
export const kvm_pit_config = struct('kvm_pit_config', { flags: u32, pad: array(u32, 15) });
/** KVM answers port 0x61 itself, silently. */
export const KVM_PIT_SPEAKER_DUMMY = 1;

/** One counter of the 8254. `count_load_time` is in nanoseconds of the host's monotonic clock. */
export const kvm_pit_channel_state = struct('kvm_pit_channel_state', {
  count: u32,
  latched_count: u16,
  count_latched: u8,
  status_latched: u8,
  status: u8,
  read_state: u8,
  write_state: u8,
  write_latch: u8,
  rw_mode: u8,
  mode: u8,
  bcd: u8,
  gate: u8,
  count_load_time: s64,
});

/** `KVM_GET_PIT`, `KVM_SET_PIT`. */
export const kvm_pit_state = struct('kvm_pit_state', { channels: array(kvm_pit_channel_state, 3) });

/** `KVM_GET_PIT2`, `KVM_SET_PIT2`. */
export const kvm_pit_state2 = struct('kvm_pit_state2', {
  channels: array(kvm_pit_channel_state, 3),
  flags: u32,
  reserved: array(u32, 9),
});

/** `KVM_REINJECT_CONTROL`. */
export const kvm_reinject_control = struct('kvm_reinject_control', { pit_reinject: u8, reserved: bytes(31) });

/** `KVM_GET_CLOCK`, `KVM_SET_CLOCK`: kvm-clock in nanoseconds, with the host's real time and TSC where `flags` says so. */
export const kvm_clock_data = struct('kvm_clock_data', {
  clock: u64,
  flags: u32,
  pad0: u32,
  realtime: u64,
  host_tsc: u64,
  pad: array(u32, 4),
});
export const KVM_CLOCK_TSC_STABLE = 2;
export const KVM_CLOCK_REALTIME = 4;
export const KVM_CLOCK_HOST_TSC = 8;
