import { call } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { bytes, pointer, s32, struct } from '../kvm/layout.ts';

/** The first real-time signal that glibc leaves to programs (it keeps 32 and 33). */
export const KICK_SIGNAL = 34;

/** glibc's `struct sigaction` (<bits/sigaction.h>); glibc adds the restorer itself. */
export const sigaction = struct('sigaction', {
  sa_handler: pointer,
  sa_mask: bytes(128),
  sa_flags: s32,
  sa_restorer: pointer,
});

/**
 * Installs the handler of the signal that interrupts KVM_RUN.
 * @param handler host address of machine code that returns at once
 */
export function installKickSignal(handler: number): void {
  const action = new NativeBuffer(sigaction.size);
  sigaction.write(action.view, 0, { sa_handler: handler });
  call('sigaction', 'prepare the signal that stops vCPUs', KICK_SIGNAL, action.address, 0);
}
