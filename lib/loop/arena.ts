import { NativeBuffer } from '../ffi/native-buffer.ts';
import { CALL_ENTRY_SIZE, callBlockSize } from '../native/call-block.ts';
import { NativeCode, NativeRoutine } from '../native/code.ts';

/** How many system calls fit in one batch. */
export const CALLS_PER_BATCH = 60;
/** Marks of a series in the block of `calls.S`. */
const SERIES = 0x8000_0000;
const STOP_AT_FAILURE = 1;
/** How many events one `epoll_wait` returns. */
export const MAX_EVENTS = 64;
/** `struct epoll_event` is packed on x86-64: u32 events, u64 data. */
export const EPOLL_EVENT_SIZE = 12;

/** How many system calls confine one thread at most. */
export const MAX_CONFINING_CALLS = 80;

const CALLS_BLOCK = 0;
const WAIT_BLOCK = CALLS_BLOCK + callBlockSize(CALLS_PER_BATCH);
const CAS16_BLOCK = WAIT_BLOCK + 64;
const EVENTS = CAS16_BLOCK + 64;
const VIOLATION_BLOCK = Math.ceil((EVENTS + MAX_EVENTS * EPOLL_EVENT_SIZE) / 64) * 64;
const CONFINE_BLOCK = VIOLATION_BLOCK + 128;
const ARENA_SIZE = CONFINE_BLOCK + callBlockSize(MAX_CONFINING_CALLS);

/** The memory that JavaScript and mvm's machine code share: the parameter blocks of the native routines, and the code itself. */
export class NativeArena {
  readonly memory: NativeBuffer;
  readonly code: NativeCode;
  /** Offsets in `memory`. */
  readonly waitBlock = WAIT_BLOCK;
  readonly events = EVENTS;
  readonly violationBlock = VIOLATION_BLOCK;
  readonly confineBlock = CONFINE_BLOCK;
  readonly wait: NativeRoutine;
  readonly #calls: NativeRoutine;
  readonly #cas16: NativeRoutine;
  readonly #words: Int32Array;
  #count = 0;
  #batch = 0;

  constructor() {
    this.memory = new NativeBuffer(ARENA_SIZE, 64);
    const { address } = this.memory;
    this.code = new NativeCode({
      calls: address + CALLS_BLOCK,
      wait: address + WAIT_BLOCK,
      cas16: address + CAS16_BLOCK,
      confine: address + CONFINE_BLOCK,
      violation: address + VIOLATION_BLOCK,
    });
    this.wait = new NativeRoutine(this.code, 'wait', true);
    this.#calls = new NativeRoutine(this.code, 'calls', true);
    this.#cas16 = new NativeRoutine(this.code, 'cas16');
    this.#words = new Int32Array(this.memory.buffer, this.memory.base, ARENA_SIZE / 4);
  }

  /** How many more system calls fit before the next `submit`. */
  get room(): number {
    return CALLS_PER_BATCH - this.#count;
  }

  /** Which batch is being queued: changes with each `submit`. */
  get batch(): number {
    return this.#batch;
  }

  /**
   * Queues a system call whose result nobody reads, such as an interrupt. It is made with the next `submit`, which the event loop
   * does each time that it has looked at its pollers and descriptors. Allocates nothing.
   */
  post(number: number, a0: number, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): void {
    if (this.#count === CALLS_PER_BATCH) this.submit();
    this.queue(number, a0, a1, a2, a3, a4, a5);
  }

  /**
   * Queues a system call for the next `submit`. Arguments are integers below 2⁵³. Allocates nothing.
   * What is queued for its result is to be submitted before anything else uses the arena.
   * @returns its place in the batch, for `result`
   * @throws RangeError when the batch is full (`CALLS_PER_BATCH`)
   */
  queue(number: number, a0: number, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    const index = this.#count;
    if (index === CALLS_PER_BATCH) throw new RangeError('too many system calls in one batch');
    this.#count = index + 1;
    const word = ((index + 1) * CALL_ENTRY_SIZE) / 4;
    this.#set(word, number);
    this.#set(word + 2, a0);
    this.#set(word + 4, a1);
    this.#set(word + 6, a2);
    this.#set(word + 8, a3);
    this.#set(word + 10, a4);
    this.#set(word + 12, a5);
    return index;
  }

  /**
   * Queues a series: for each of `count` lists of iovecs one call of readv or writev, with one result each. Allocates nothing.
   * @param vectors host address of the first `struct iovec`
   * @param starts host address of `count + 1` u32s: which iovec each list begins with, and the one behind the last
   * @param results host address of `count` i32s: what each call returned, or -errno
   * @param stop whether no more are made behind the first that fails
   * @returns its place in the batch: `result` tells how many calls were made
   */
  queueSeries(
    number: number,
    fd: number,
    vectors: number,
    starts: number,
    count: number,
    results: number,
    stop: boolean,
  ): number {
    const index = this.queue(number, fd, vectors, starts, count, results);
    this.#words[((index + 1) * CALL_ENTRY_SIZE) / 4 + 1] = SERIES | (stop ? STOP_AT_FAILURE : 0);
    return index;
  }

  /** Makes the queued system calls, in order. */
  submit(): void {
    if (this.#count === 0) return;
    this.#words[0] = this.#count;
    this.#count = 0;
    this.#batch = (this.#batch + 1) & 0x3fff_ffff;
    this.#calls.run();
  }

  /** What the call at `index` of the last batch returned: a value below 2⁵³, or -errno. */
  result(index: number): number {
    const word = ((index + 1) * CALL_ENTRY_SIZE + 56) / 4;
    return this.#words[word + 1]! * 0x1_0000_0000 + (this.#words[word]! >>> 0);
  }

  /** How long the calls of the last batch took, in 1024 cycles of the time-stamp counter; a second or more is 2³⁰. */
  get kilocycles(): number {
    return this.#words[3] === 0 ? this.#words[2]! >>> 10 : 2 ** 30;
  }

  /** One system call at once, after those that are queued: its result, or -errno. */
  invoke(number: number, a0: number, a1 = 0, a2 = 0, a3 = 0): number {
    if (this.#count === CALLS_PER_BATCH) this.submit();
    const index = this.queue(number, a0, a1, a2, a3);
    this.submit();
    return this.result(index);
  }

  /**
   * Compares 16 bytes at a host address and exchanges them where they are as expected, in one atomic step.
   * @returns whether they were; `found` receives what was there
   */
  compareExchange16(
    address: number,
    expected: readonly [bigint, bigint],
    replacement: readonly [bigint, bigint],
    found: [bigint, bigint],
  ): boolean {
    const { view } = this.memory;
    this.memory.setNumber64(CAS16_BLOCK, address);
    view.setBigUint64(CAS16_BLOCK + 8, expected[0], true);
    view.setBigUint64(CAS16_BLOCK + 16, expected[1], true);
    view.setBigUint64(CAS16_BLOCK + 24, replacement[0], true);
    view.setBigUint64(CAS16_BLOCK + 32, replacement[1], true);
    this.#cas16.run();
    found[0] = view.getBigUint64(CAS16_BLOCK + 8, true);
    found[1] = view.getBigUint64(CAS16_BLOCK + 16, true);
    return view.getUint32(CAS16_BLOCK + 40, true) === 1;
  }

  #set(word: number, value: number): void {
    this.#words[word] = value;
    this.#words[word + 1] = Math.floor(value / 0x1_0000_0000);
  }
}
