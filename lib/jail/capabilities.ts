import { LINUX_CAPABILITY_VERSION_3 } from '../ffi/constants.ts';

/** <linux/capability.h>. */
export const LAST_CAPABILITY = 40;
const CAP_DAC_OVERRIDE = 1;
const CAP_DAC_READ_SEARCH = 2;
const CAP_SETGID = 6;
const CAP_SETUID = 7;
const CAP_NET_ADMIN = 12;
const CAP_IPC_LOCK = 14;

/**
 * What mvm needs in a jail that root made, until the guest runs, a bit each: to open files whoever they belong to, to attach to a tap or make it, to
 * lock the pages of io_uring's buffers, and to become another user.
 */
export const CAPABILITIES_TO_START = [
  CAP_DAC_OVERRIDE,
  CAP_DAC_READ_SEARCH,
  CAP_SETGID,
  CAP_SETUID,
  CAP_NET_ADMIN,
  CAP_IPC_LOCK,
].reduce((set, capability) => set | (1n << BigInt(capability)), 0n);

/** `struct __user_cap_header_struct` of the calling process. */
export function capabilityHeader(): Uint8Array {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(LINUX_CAPABILITY_VERSION_3);
  return header;
}

/** Two `struct __user_cap_data_struct`: for the low and for the high 32 capabilities. */
export function capabilityData(sets: { effective: bigint; permitted: bigint; inheritable: bigint }): Uint8Array {
  const data = Buffer.alloc(24);
  for (const [index, set] of [sets.effective, sets.permitted, sets.inheritable].entries()) {
    data.writeUInt32LE(Number(set & 0xffff_ffffn), index * 4);
    data.writeUInt32LE(Number(set >> 32n), 12 + index * 4);
  }
  return data;
}

/** The permitted capabilities of a process, from the text of its /proc/PID/status. */
export function permittedCapabilities(status: string): bigint {
  return BigInt(`0x${/^CapPrm:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
}
