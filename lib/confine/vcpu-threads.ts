import { HostError } from '../errors.ts';
import { SIG_SETMASK, SIGSET_SIZE, SYS_rt_sigprocmask } from '../ffi/constants.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { CallBlock, callBlockSize } from '../native/call-block.ts';
import { KICK_SIGNAL } from '../vcpu/kick-signal.ts';
import type { VcpuThread } from '../vcpu/thread.ts';
import { allSignalsBut, checkResults, fillBlock, nameCall, type ThreadCall, waitUntil } from './thread-calls.ts';
import { SIGSYS } from './violation.ts';

/**
 * Starts the thread of a vCPU, which confines itself before it does anything else.
 * @param calls by which it does
 * @returns what waits for that, and gives back the thread's id; throws HostError where the thread could not confine itself
 */
export function startConfined(thread: VcpuThread, calls: readonly ThreadCall[]): () => number {
  const name = `vCPU ${thread.vcpu.id}`;
  const mask = new NativeBuffer(SIGSET_SIZE);
  // Node's signals are for the JavaScript thread: a handler of libuv's would make calls that are not allowed here.
  mask.view.setBigUint64(0, allSignalsBut(KICK_SIGNAL, SIGSYS), true);
  const purpose = 'set up the thread';
  const all: ThreadCall[] = [
    nameCall(`vcpu ${thread.vcpu.id}`),
    { name: 'rt_sigprocmask', purpose, call: [SYS_rt_sigprocmask, SIG_SETMASK, mask.address, 0, SIGSET_SIZE] },
    ...calls,
  ];
  const memory = new NativeBuffer(callBlockSize(all.length), 64);
  const block = new CallBlock(memory);
  fillBlock(block, all);
  thread.start(block.address);
  return () => {
    if (!waitUntil(() => thread.exited)) throw new HostError(`the thread of ${name} does not start`);
    checkResults(
      all,
      (index) => block.result(index),
      () => `the thread of ${name}`,
    );
    memory.release();
    mask.release();
    return thread.id;
  };
}
