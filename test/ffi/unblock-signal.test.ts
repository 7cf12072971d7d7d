import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import test from 'ava';
import { call } from '../../lib/ffi/libc.ts';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';
import { unblockSignal } from '../../lib/ffi/unblock-signal.ts';

const SYS_rt_sigprocmask = 14;
const SIG_BLOCK = 0;

/** Signals that this thread does not take. */
function blocked(): bigint {
  return BigInt(`0x${/^SigBlk:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/thread-self/status', 'utf8'))?.[1]}`);
}

test('a signal that was blocked is taken again, and no other', (t) => {
  const { SIGUSR1, SIGUSR2 } = constants.signals;
  const bit = (signal: number) => 1n << BigInt(signal - 1);
  const before = blocked() & ~(bit(SIGUSR1) | bit(SIGUSR2));
  const set = new NativeBuffer(8);
  set.view.setBigUint64(0, bit(SIGUSR1) | bit(SIGUSR2), true);
  call('syscall', 'block signals', SYS_rt_sigprocmask, SIG_BLOCK, set.address, 0, 8, 0, 0);
  t.is(blocked(), before | bit(SIGUSR1) | bit(SIGUSR2));
  unblockSignal(SIGUSR1);
  t.is(blocked(), before | bit(SIGUSR2));
  unblockSignal(SIGUSR2);
  t.is(blocked(), before);
  set.release();
});
