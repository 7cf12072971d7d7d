import { EAGAIN, EINTR } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { KVM_EXIT_INTR, KVM_EXIT_IO, KVM_EXIT_MMIO } from '../kvm/exits.ts';
import type { EventLoop, Poller } from '../loop/event-loop.ts';
import { StoppedCallError } from '../seccomp/stopped-call.ts';
import { type AddressSpace, ExitCounters, ExitReader } from './exit-reader.ts';
import type { VcpuThread } from './thread.ts';

/** Handles an exit that is neither a port nor a memory access. @returns whether the vCPU may go on */
export type OtherExitHandler = (thread: VcpuThread, reason: number) => boolean;

/** What JavaScript knows of one vCPU. */
class Slot {
  readonly thread: VcpuThread;
  readonly reader: ExitReader;
  /** The vCPU is wanted to stand still. */
  halting = true;
  /** It stands still, owned by JavaScript, with nothing pending in KVM. */
  still = false;
  exits = 0;

  constructor(thread: VcpuThread, counters: ExitCounters) {
    this.thread = thread;
    this.reader = new ExitReader(thread.vcpu.run, counters);
  }
}

/** Runs the vCPUs of a machine: hands their exits to the buses, and stops, pauses and resumes them. */
export class VcpuRunner implements Poller {
  /** Over all vCPUs. */
  readonly counters = new ExitCounters();
  readonly #slots: Slot[];
  readonly #loop: EventLoop;
  readonly #ports: AddressSpace;
  readonly #memory: AddressSpace;
  readonly #onOther: OtherExitHandler;
  #whenStill: (() => void)[] = [];

  constructor(
    threads: readonly VcpuThread[],
    loop: EventLoop,
    ports: AddressSpace,
    memory: AddressSpace,
    onOther: OtherExitHandler,
  ) {
    this.#slots = threads.map((thread) => new Slot(thread, this.counters));
    this.#loop = loop;
    this.#ports = ports;
    this.#memory = memory;
    this.#onOther = onOther;
    loop.addPoller(this);
  }

  /** How many times guests left KVM_RUN for JavaScript. */
  get exits(): number {
    return this.#slots.reduce((sum, slot) => sum + slot.exits, 0);
  }

  /** Lets all vCPUs run. */
  resume(): void {
    for (const slot of this.#slots) {
      slot.halting = false;
      slot.thread.vcpu.immediateExit = false;
      if (slot.still) {
        slot.still = false;
        slot.thread.resume();
      }
    }
  }

  /** Brings all vCPUs to a standstill in which their registers are complete; resolves when they are. */
  pause(): Promise<void> {
    for (const slot of this.#slots) {
      if (slot.halting) continue;
      slot.halting = true;
      slot.thread.kick();
    }
    return new Promise((resolve) => {
      this.#whenStill.push(resolve);
      this.#settle();
    });
  }

  /** Ends the threads. Only after `pause` has resolved. */
  join(): void {
    this.#loop.removePoller(this);
    for (const slot of this.#slots) slot.thread.join();
  }

  poll(): boolean {
    let found = false;
    for (let i = 0; i < this.#slots.length; i++) {
      const slot = this.#slots[i]!;
      if (slot.still || !slot.thread.exited) continue;
      found = true;
      this.#handle(slot);
    }
    return found;
  }

  #handle(slot: Slot): void {
    const { thread } = slot;
    const { result } = thread;
    slot.exits++;
    if (result === 0) {
      const { reason } = slot.reader;
      if (reason === KVM_EXIT_IO) slot.reader.doPortAccess(this.#ports);
      else if (reason === KVM_EXIT_MMIO) slot.reader.doMemoryAccess(this.#memory);
      else if (reason !== KVM_EXIT_INTR && !this.#onOther(thread, reason)) {
        this.#hold(slot);
        return;
      }
      // While it is to stand still, KVM_RUN finishes the access (api.rst section 5, KVM_EXIT_IO) and returns EINTR.
      thread.resume();
    } else if (result === -EINTR || result === -EAGAIN) {
      if (slot.halting) this.#hold(slot);
      else thread.resume();
    } else if (thread.stoppedCall !== undefined) {
      this.#hold(slot);
      throw new StoppedCallError(`the thread of vCPU ${thread.vcpu.id}`, thread.stoppedCall, 'vcpu');
    } else {
      throw new SystemError('KVM_RUN', -result, `run vCPU ${thread.vcpu.id}`);
    }
  }

  #hold(slot: Slot): void {
    slot.halting = true;
    slot.still = true;
    this.#settle();
  }

  #settle(): void {
    if (this.#whenStill.length === 0 || !this.#slots.every((slot) => slot.still)) return;
    for (const resolve of this.#whenStill) resolve();
    this.#whenStill = [];
    this.#loop.yieldToNode();
  }
}
