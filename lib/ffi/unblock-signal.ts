import { SIGSET_SIZE, SYS_rt_sigprocmask } from './constants.ts';
import { call } from './libc.ts';
import { NativeBuffer } from './native-buffer.ts';

const SIG_UNBLOCK = 1;

/**
 * Lets the calling thread take a signal (rt_sigprocmask(2)): Node keeps SIGUSR1 blocked where it is not to start its debugger.
 * @param number as in signal(7), below 32
 */
export function unblockSignal(number: number): void {
  const set = new NativeBuffer(SIGSET_SIZE);
  set.view.setUint32(0, (1 << (number - 1)) >>> 0, true);
  call('syscall', `take signal ${number}`, SYS_rt_sigprocmask, SIG_UNBLOCK, set.address, 0, SIGSET_SIZE, 0, 0);
  set.release();
}
