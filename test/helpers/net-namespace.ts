import { execFileSync } from 'node:child_process';
import { LINUX_CAPABILITY_VERSION_3, SYS_capset } from '../../lib/ffi/constants.ts';
import { call, tryCall } from '../../lib/ffi/libc.ts';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';

const SYS_capget = 125;
const SYS_unshare = 272;
const CLONE_NEWNET = 0x4000_0000;
const CAP_NET_ADMIN = 12;

/**
 * Puts this thread, and processes that it starts from now on, into a network namespace of its own, with `lo` up. The namespace goes with
 * the process, however it ends.
 */
export function enterNetNamespace(): void {
  call('syscall', 'make a network namespace (tests of networks need root)', SYS_unshare, CLONE_NEWNET, 0, 0, 0, 0, 0);
  ip('link', 'set', 'lo', 'up');
}

/** What `enterHostNetwork` gives the host: passt then gives the same to its guest. */
export const HOST_ADDRESS = '192.0.2.2';
export const HOST_GATEWAY = '192.0.2.1';

/** As `enterNetNamespace`, with an address and a default route, as a host has them. */
export function enterHostNetwork(): void {
  enterNetNamespace();
  ip('link', 'add', 'eth9', 'type', 'veth', 'peer', 'name', 'peer9');
  for (const name of ['eth9', 'peer9']) ip('link', 'set', name, 'up');
  ip('addr', 'add', `${HOST_ADDRESS}/24`, 'dev', 'eth9');
  ip('route', 'add', 'default', 'via', HOST_GATEWAY);
}

/** Runs ip(8). @returns what it prints */
export function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Does something without CAP_NET_ADMIN, on this thread. */
export function withoutNetAdmin<T>(action: () => T): T {
  const header = new NativeBuffer(8);
  const data = new NativeBuffer(24);
  header.view.setUint32(0, LINUX_CAPABILITY_VERSION_3, true);
  const capability = (number: number): void => {
    if (tryCall('syscall', number, header.address, data.address, 0, 0, 0, 0) !== 0) throw new Error('no capabilities');
  };
  capability(SYS_capget);
  const effective = data.view.getUint32(0, true);
  data.view.setUint32(0, effective & ~(1 << CAP_NET_ADMIN), true);
  capability(SYS_capset);
  try {
    return action();
  } finally {
    data.view.setUint32(0, effective, true);
    capability(SYS_capset);
  }
}
