import { readdirSync, readFileSync } from 'node:fs';
import { HostError } from '../errors.ts';
import { ESRCH, SIGSET_SIZE, SYS_rt_sigaction, SYS_tgkill } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { NativeArena } from '../loop/arena.ts';
import { CallBlock } from '../native/call-block.ts';
import { allSignalsBut, checkResults, fillBlock, type ThreadCall, waitUntil } from './thread-calls.ts';
import { SIGSYS } from './violation.ts';

/**
 * One of the two real-time signals that glibc keeps for itself (SIGSETXID: setuid(2) on all threads), and the only kind that a thread cannot
 * block through it. It is not glibc's to hand out, so the system call is made.
 */
const CONFINE_SIGNAL = 33;
const SA_RESTORER = 0x0400_0000;
const SA_RESTART = 0x1000_0000;

/** The threads of this process, by their ids. */
export function threadIds(): number[] {
  return readdirSync('/proc/self/task').map(Number);
}

/**
 * Confines threads that Node has made, its main thread too: a signal has them make the system calls that do (`confine.S`). There is no other
 * way in, as they wait for work in functions that are not ours.
 */
export class NodeThreads {
  readonly #block: CallBlock;
  readonly #pid = process.pid;

  constructor({ memory, confineBlock, code }: NativeArena) {
    this.#block = new CallBlock(memory, confineBlock);
    // The kernel's struct sigaction: u64 handler, flags, restorer (the handler does without), mask.
    const action = new NativeBuffer(32);
    action.setNumber64(0, code.addressOf('confine'));
    action.setNumber64(8, SA_RESTORER | SA_RESTART);
    const purpose = 'prepare the signal that confines threads';
    call('syscall', purpose, SYS_rt_sigaction, CONFINE_SIGNAL, action.address, 0, SIGSET_SIZE, 0, 0);
    action.release();
  }

  /**
   * Confines all threads but some, until no new ones appear. Those that come later are children of a confined thread, and confined with it.
   * @param others ids of the threads that are left alone
   * @throws HostError where a thread does not do it
   */
  confineAll(calls: readonly ThreadCall[], others: ReadonlySet<number>): void {
    const done = new Set(others);
    for (;;) {
      const ids = threadIds().filter((id) => !done.has(id));
      if (ids.length === 0) return;
      for (const id of ids) {
        // Node's signals are for the JavaScript thread: a handler of libuv's would make calls that are not allowed in others.
        this.confine(id, calls, allSignalsBut(SIGSYS));
        done.add(id);
      }
    }
  }

  /**
   * @param signals that the thread blocks from then on; without it, as before
   * @throws HostError where the thread does not do it
   */
  confine(id: number, calls: readonly ThreadCall[], signals?: bigint): void {
    const block = this.#block;
    const name = () => (id === this.#pid ? 'the JavaScript thread' : `thread ${id} (${nameOf(id)})`);
    fillBlock(block, calls, signals);
    const sent = tryCall('syscall', SYS_tgkill, this.#pid, id, CONFINE_SIGNAL, 0, 0, 0);
    if (sent === -ESRCH) return;
    if (sent < 0) throw new SystemError('tgkill', -sent, `confine ${name()}`);
    if (!waitUntil(() => block.isDone)) throw new HostError(`${name()} of mvm does not let itself be confined`);
    checkResults(calls, (index) => block.result(index), name);
    // Nobody who sends that signal later makes a thread do it again.
    block.set([]);
  }
}

function nameOf(id: number): string {
  try {
    return readFileSync(`/proc/self/task/${id}/comm`, 'latin1').trim();
  } catch {
    return 'ended';
  }
}
