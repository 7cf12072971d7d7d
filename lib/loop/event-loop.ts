import {
  EAGAIN,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  EINTR,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLET,
  EPOLLIN,
} from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { EPOLL_EVENT_SIZE, MAX_EVENTS, NativeArena } from './arena.ts';
import { SpinPolicy } from './spin-policy.ts';

/** Something that has work which no file descriptor announces while the loop is awake: vCPU exits, virtqueues. */
export interface Poller {
  /** Does what there is to do. @returns whether there was anything */
  poll(): boolean;
  /** The loop is about to sleep: from now on descriptors must announce work. @returns whether there is some already */
  listen?(): boolean;
  /** The loop is awake again: descriptors need announce nothing. */
  ignore?(): void;
}

/** A file descriptor that the loop looks after. */
export interface Watch {
  /** Changes the events that are waited for (`EPOLLIN`, `EPOLLOUT`; level-triggered unless `EPOLLET`). */
  modify(events: number): void;
  /** Stops looking after it; the descriptor stays open. */
  close(): void;
}

type Handler = (events: number) => void;

/**
 * A sleep of fewer milliseconds might have been saved by looking on: where a vCPU and the loop wake each other up on two CPUs, an exit
 * takes twice 50 µs and what the guest does in between.
 */
const SHORT_SLEEP_MS = 0.25;
/** Vain looks between two looks at the clock, and at the descriptors. */
const LOOKS_PER_CLOCK = 64;
/** Vain looks before a sleep where looking does not pay: more only keep a vCPU on the same CPU from running. */
const LOOKS_WITHOUT_BUDGET = 4;
/** After so many looks that found work, the descriptors are looked at too: a busy guest cannot starve them. */
const WORK_PER_EPOLL = 32;

/** The longest interval that Node has: 24 days. */
const MAX_INTERVAL_MS = 2 ** 31 - 1;

const UV_EVENT = 0;
const WAKE_EVENT = 1;

/**
 * The one loop of mvm. It holds vCPU exits, device descriptors and libuv's own loop, whose epoll descriptor lies in ours.
 *
 * While awake it polls; before it sleeps it says so in a word that the vCPU threads read (`sleepingAddress`), looks once more, and
 * blocks in epoll_wait. Code that Node runs (timers, sockets, promises) runs when libuv's descriptor is readable, its next
 * timer is due, or `yieldToNode` asked for it.
 */
export class EventLoop {
  readonly arena = new NativeArena();
  /** The eventfd that wakes the loop. */
  readonly wakeFd: number;
  readonly #epollFd: number;
  readonly #sleeping: NativeBuffer;
  readonly #sleepingWord: Int32Array;
  readonly #words: Int32Array;
  /** What `run` waits on for its next turn; never changes. */
  readonly #turnWord = new Int32Array(new SharedArrayBuffer(4));
  readonly #pollers: Poller[] = [];
  readonly #beforeSleep: (() => void)[] = [];
  readonly #handlers: (Handler | undefined)[] = [undefined, undefined];
  readonly #freeSlots: number[] = [];
  /** Slots of closed watches: reusable once no event of theirs can be in the array. */
  readonly #retired: number[] = [];
  readonly #policy = new SpinPolicy();
  /** Looks that found work since the last sleep. */
  #finds = 0;
  #running = false;
  #yield = false;
  #failure: unknown;

  constructor() {
    this.#epollFd = call('epoll_create1', 'create the event loop', EPOLL_CLOEXEC);
    this.wakeFd = call('eventfd', 'create the event loop', 0, EFD_CLOEXEC | EFD_NONBLOCK);
    this.#sleeping = new NativeBuffer(64, 64);
    this.#sleepingWord = new Int32Array(this.#sleeping.buffer, this.#sleeping.base, 1);
    const { memory, waitBlock } = this.arena;
    this.#words = new Int32Array(memory.buffer, memory.base, memory.size / 4);
    const uvLoop = call('uv_default_loop', 'find the event loop of Node');
    const uvFd = call('uv_backend_fd', 'find the event loop of Node', uvLoop);
    memory.setNumber64(waitBlock, uvLoop);
    memory.setNumber64(waitBlock + 8, call('dlsym', 'find libuv', 0, 'uv_update_time'));
    memory.setNumber64(waitBlock + 16, call('dlsym', 'find libuv', 0, 'uv_backend_timeout'));
    memory.view.setInt32(waitBlock + 24, this.#epollFd, true);
    memory.view.setInt32(waitBlock + 28, MAX_EVENTS, true);
    memory.setNumber64(waitBlock + 32, memory.address + this.arena.events);
    this.#control(EPOLL_CTL_ADD, uvFd, EPOLLIN, UV_EVENT);
    // Edge-triggered, an eventfd need not be read to be quiet again.
    this.#control(EPOLL_CTL_ADD, this.wakeFd, EPOLLIN | EPOLLET, WAKE_EVENT);
  }

  /** Host address of the u32 that is 1 while the loop sleeps; who clears it must write `wakeFd`. */
  get sleepingAddress(): number {
    return this.#sleeping.address;
  }

  addPoller(poller: Poller): void {
    this.#pollers.push(poller);
  }

  removePoller(poller: Poller): void {
    const index = this.#pollers.indexOf(poller);
    if (index >= 0) this.#pollers.splice(index, 1);
  }

  /** Registers what is to be done each time before the loop sleeps or Node runs, such as writing out gathered output. */
  beforeSleep(action: () => void): void {
    this.#beforeSleep.push(action);
  }

  /**
   * Calls `handler` whenever `fd` has one of `events`.
   * @throws SystemError with `EPERM` for a regular file, which is always ready and cannot be waited for
   */
  watch(fd: number, events: number, handler: Handler): Watch {
    const slot = this.#freeSlots.pop() ?? this.#handlers.length;
    this.#handlers[slot] = handler;
    try {
      this.#control(EPOLL_CTL_ADD, fd, events, slot);
    } catch (error) {
      this.#handlers[slot] = undefined;
      this.#freeSlots.push(slot);
      throw error;
    }
    let open = true;
    return {
      modify: (wanted) => this.#control(EPOLL_CTL_MOD, fd, wanted, slot),
      close: () => {
        if (!open) return;
        open = false;
        tryCall('epoll_ctl', this.#epollFd, EPOLL_CTL_DEL, fd, 0);
        this.#handlers[slot] = undefined;
        this.#retired.push(slot);
      },
    };
  }

  /** Lets Node run its callbacks (timers, promises, sockets) before the loop goes on. Needed after work that resolves a promise. */
  yieldToNode(): void {
    this.#yield = true;
  }

  /** Runs until `stop`. @throws whatever a poller or handler threw */
  async run(): Promise<void> {
    this.#running = true;
    this.#failure = undefined;
    // libuv takes a loop without anything to wait for as one that is to end, and would not let us sleep.
    const keepAlive = setInterval(() => {}, MAX_INTERVAL_MS);
    await new Promise<void>((resolve) => {
      const turn = () => {
        try {
          this.#runTurn();
        } catch (error) {
          this.#failure = error;
          this.#running = false;
        }
        if (this.#running) setImmediate(callBack);
        else resolve();
      };
      // Node calls us by a task that V8 posts. An immediate alone will not do: while one runs, libuv says that it must not sleep. It
      // comes between so that libuv gets through its whole round. A message port would do as well, but costs 20 ms to load.
      const callBack = () => {
        void Promise.resolve(Atomics.waitAsync(this.#turnWord, 0, 0).value).then(turn);
        Atomics.notify(this.#turnWord, 0);
      };
      callBack();
    });
    clearInterval(keepAlive);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Ends `run` after the current turn. */
  stop(): void {
    this.#running = false;
  }

  /** Closes the loop's descriptors. */
  close(): void {
    tryCall('close', this.wakeFd);
    tryCall('close', this.#epollFd);
  }

  /** One stay in our loop: returns when Node has something to do. */
  #runTurn(): void {
    let idle = 0;
    let idleSince = 0;
    let work = 0;
    while (this.#running) {
      if (this.#poll()) {
        idle = 0;
        work++;
      } else {
        idle++;
      }
      let sleeps = false;
      const looks = this.#policy.budget === 0 ? LOOKS_WITHOUT_BUDGET : LOOKS_PER_CLOCK;
      const vain = idle > 0 && idle % looks === 0;
      if (vain) {
        const now = performance.now();
        if (idle === looks) idleSince = now;
        sleeps = now - idleSince >= this.#policy.budget;
      }
      // Between vain looks the descriptors are looked at as well: what is waited for may come from them.
      if (!vain && work < WORK_PER_EPOLL && !this.#yield) continue;
      for (let i = 0; i < this.#beforeSleep.length; i++) this.#beforeSleep[i]!();
      this.#finds += work;
      sleeps &&= !this.#yield;
      if (!sleeps) this.#wait(0);
      else if (!this.#sleep()) continue;
      if (sleeps || !vain) idle = 0;
      work = 0;
      if (this.#dispatch(sleeps) || this.#yield) {
        this.#yield = false;
        return;
      }
    }
  }

  /** Announces sleep, looks once more, and blocks. @returns false where the last look found work, so that it did not block */
  #sleep(): boolean {
    Atomics.store(this.#sleepingWord, 0, 1);
    let found = this.#poll();
    if (!found) {
      for (let i = 0; i < this.#pollers.length; i++) {
        if (this.#pollers[i]!.listen?.()) found = true;
      }
      if (!found) {
        const start = performance.now();
        this.#wait(-1);
        this.#policy.slept(performance.now() - start < SHORT_SLEEP_MS, this.#finds);
        this.#finds = 0;
      }
      for (let i = 0; i < this.#pollers.length; i++) this.#pollers[i]!.ignore?.();
    }
    Atomics.store(this.#sleepingWord, 0, 0);
    return !found;
  }

  #poll(): boolean {
    let found = false;
    for (let i = 0; i < this.#pollers.length; i++) {
      if (this.#pollers[i]!.poll()) found = true;
    }
    this.arena.submit();
    return found;
  }

  #wait(limit: number): void {
    this.#words[(this.arena.waitBlock + 44) >> 2] = limit;
    this.arena.wait.run();
  }

  /** Calls the handlers of what epoll_wait returned. @param slept without a limit of ours @returns whether Node has to run */
  #dispatch(slept: boolean): boolean {
    const count = this.#words[(this.arena.waitBlock + 40) >> 2]!;
    if (count < 0 && count !== -EINTR && count !== -EAGAIN)
      throw new SystemError('epoll_wait', -count, 'wait for events');
    // A sleep that ended without an event was ended by libuv's next timer.
    let node = (slept && count === 0) || this.#words[(this.arena.waitBlock + 48) >> 2] === 0;
    for (let i = 0; i < count; i++) {
      const word = (this.arena.events + i * EPOLL_EVENT_SIZE) >> 2;
      const slot = this.#words[word + 1]!;
      if (slot === UV_EVENT) node = true;
      else this.#handlers[slot]?.(this.#words[word]!);
    }
    this.arena.submit();
    while (this.#retired.length > 0) this.#freeSlots.push(this.#retired.pop()!);
    return node;
  }

  #control(operation: number, fd: number, events: number, slot: number): void {
    // A struct epoll_event for the kernel to read, where it writes its first answer: that one was read before any handler ran.
    const { memory, events: offset } = this.arena;
    memory.view.setUint32(offset, events >>> 0, true);
    memory.setNumber64(offset + 4, slot);
    call('epoll_ctl', 'watch a file descriptor', this.#epollFd, operation, fd, memory.address + offset);
  }
}
