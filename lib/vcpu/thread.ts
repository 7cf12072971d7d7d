import { EINTR, FUTEX_WAKE_PRIVATE, SYS_futex, SYS_tgkill } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { callPthread, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { KvmVcpu } from '../kvm/vcpu.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import { CONTROL_BLOCK_SIZE, ControlBlock, OWNER_JAVASCRIPT, OWNER_THREAD } from './control-block.ts';
import { KICK_SIGNAL } from './kick-signal.ts';

/** The thread calls nothing deeper than a system call: glibc's minimum (PTHREAD_STACK_MIN) and its TLS fit well. */
const STACK_SIZE = 64 * 1024;
/** `sizeof(pthread_attr_t)` on x86-64. */
const PTHREAD_ATTR_SIZE = 56;
/** Looks at its state word, with `pause` between, before the thread parks: about as long as JavaScript takes for an exit. */
const DEFAULT_SPINS = 1000;

const STATE = ControlBlock.STATE / 4;
const RESULT = ControlBlock.RESULT / 4;
const PARKED = ControlBlock.PARKED / 4;
const STOPPED_CALL = ControlBlock.STOPPED_CALL / 4;
const THREAD_ID = ControlBlock.THREAD_ID / 4;

/** A vCPU's native thread, seen from JavaScript. It starts owned by JavaScript: nothing runs before the first `resume`. */
export class VcpuThread {
  readonly vcpu: KvmVcpu;
  readonly #loop: EventLoop;
  readonly #control: NativeBuffer;
  readonly #words: Int32Array;
  /** Node asks the kernel each time. */
  readonly #pid = process.pid;
  /** `pthread_t` */
  #thread = 0;

  constructor(vcpu: KvmVcpu, loop: EventLoop) {
    this.vcpu = vcpu;
    this.#loop = loop;
    this.#control = new NativeBuffer(CONTROL_BLOCK_SIZE, CONTROL_BLOCK_SIZE);
    this.#words = new Int32Array(this.#control.buffer, this.#control.base, CONTROL_BLOCK_SIZE / 4);
    const { view } = this.#control;
    view.setInt32(ControlBlock.RESULT, -EINTR, true);
    view.setInt32(ControlBlock.VCPU_FD, vcpu.fd, true);
    view.setUint32(ControlBlock.SPINS, DEFAULT_SPINS, true);
    this.#control.setNumber64(ControlBlock.SLEEPING, loop.sleepingAddress);
    view.setInt32(ControlBlock.WAKE_FD, loop.wakeFd, true);
    view.setUint32(ControlBlock.ONE, 1, true);
  }

  /**
   * Starts the thread. It first confines itself, then hands over to JavaScript, as if interrupted.
   * @param calls host address of a block with the system calls by which it does (lib/native/calls.S), or 0 for none
   */
  start(calls = 0): void {
    this.#control.setNumber64(ControlBlock.CALLS, calls);
    const scratch = new NativeBuffer(PTHREAD_ATTR_SIZE + 8);
    const purpose = `start the thread of vCPU ${this.vcpu.id}`;
    callPthread('pthread_attr_init', purpose, scratch.address + 8);
    callPthread('pthread_attr_setstacksize', purpose, scratch.address + 8, STACK_SIZE);
    const entry = this.#loop.arena.code.addressOf('vcpu');
    callPthread('pthread_create', purpose, scratch.address, scratch.address + 8, entry, this.#control.address);
    this.#thread = scratch.getNumber64(0);
  }

  /** The kernel's id of the thread; 0 before it has begun. */
  get id(): number {
    return Atomics.load(this.#words, THREAD_ID);
  }

  /** libc's: `pthread_t`; 0 before `start`. */
  get pthread(): number {
    return this.#thread;
  }

  /** What its seccomp profile pins: the values of `$` names. */
  get filterValues() {
    const { address } = this.#control;
    return {
      vcpu_fd: this.vcpu.fd,
      state_address: address + ControlBlock.STATE,
      wake_fd: this.#loop.wakeFd,
      one_address: address + ControlBlock.ONE,
    };
  }

  /** Host address of the block that it shares with JavaScript. */
  get controlBlock(): number {
    return this.#control.address;
  }

  /** The number of the system call that the thread's filter stopped; the thread does nothing any more. Valid while `exited`. */
  get stoppedCall(): number | undefined {
    const call = this.#words[STOPPED_CALL]!;
    return call === 0 ? undefined : call - 1;
  }

  /** Whether JavaScript owns the vCPU: an exit is to be handled. */
  get exited(): boolean {
    return Atomics.load(this.#words, STATE) === OWNER_JAVASCRIPT;
  }

  /** What KVM_RUN returned: 0 or -errno. Valid while `exited`. */
  get result(): number {
    return this.#words[RESULT]!;
  }

  /** Hands the vCPU back to its thread, which enters the guest. Allocates nothing. */
  resume(): void {
    Atomics.store(this.#words, STATE, OWNER_THREAD);
    if (Atomics.load(this.#words, PARKED) !== 0) {
      this.#loop.arena.invoke(SYS_futex, this.#control.address, FUTEX_WAKE_PRIVATE, 1);
    }
  }

  /** Makes KVM_RUN return EINTR as soon as it can, also out of `hlt` or a spinning guest, and until `immediateExit` is cleared. */
  kick(): void {
    this.vcpu.immediateExit = true;
    const { id } = this;
    // It has still to begin, and will see what was set.
    if (id === 0) return;
    // Not pthread_kill(3), which makes three more calls.
    const result = tryCall('syscall', SYS_tgkill, this.#pid, id, KICK_SIGNAL, 0, 0, 0);
    if (result < 0) throw new SystemError('tgkill', -result, `interrupt vCPU ${this.vcpu.id}`);
  }

  /** Ends the thread. Only while `exited`. One that its filter stopped ends with the process. */
  join(): void {
    if (this.stoppedCall !== undefined) return;
    this.#control.view.setUint32(ControlBlock.STOP, 1, true);
    this.resume();
    callPthread('pthread_join', `end the thread of vCPU ${this.vcpu.id}`, this.#thread, 0);
  }
}
