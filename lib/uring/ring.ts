import {
  EAGAIN,
  EBUSY,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  EINTR,
  EPOLLET,
  EPOLLIN,
  SYS_io_uring_enter,
  SYS_io_uring_register,
} from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { EventLoop, Poller, Watch } from '../loop/event-loop.ts';
import {
  IORING_CQ_EVENTFD_DISABLED,
  IORING_ENTER_GETEVENTS,
  IORING_OP_FALLOCATE,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_READV,
  IORING_OP_WRITE,
  IORING_OP_WRITEV,
  IORING_REGISTER_ENABLE_RINGS,
  IORING_REGISTER_EVENTFD,
  IORING_REGISTER_FILES,
  IORING_REGISTER_FILES_UPDATE,
  IORING_REGISTER_RESTRICTIONS,
  IORING_RESTRICTION_REGISTER_OP,
  IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
  IORING_RESTRICTION_SQE_FLAGS_REQUIRED,
  IORING_RESTRICTION_SQE_OP,
  IOSQE_FIXED_FILE,
  io_uring_cqe,
  io_uring_restriction,
  io_uring_rsrc_update,
  io_uring_sqe,
} from './layout.ts';
import { setUpUring, type UringMemory } from './setup.ts';

/** Places for registered files. */
const FILE_SLOTS = 16;
const SQE_WORDS = io_uring_sqe.size / 4;
const CQE_WORDS = io_uring_cqe.size / 4;

/**
 * All that a ring is made for. What it is asked for passes no seccomp filter, and io_uring can open files and make connections: the kernel
 * holds it to this.
 */
const RESTRICTIONS: readonly (readonly [kind: number, op: number])[] = [
  ...[IORING_OP_READ, IORING_OP_READV, IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE].map(
    (op) => [IORING_RESTRICTION_SQE_OP, op] as const,
  ),
  [IORING_RESTRICTION_SQE_FLAGS_ALLOWED, IOSQE_FIXED_FILE],
  [IORING_RESTRICTION_SQE_FLAGS_REQUIRED, IOSQE_FIXED_FILE],
  [IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_FILES_UPDATE],
];

/** Who has requests in a ring. */
export interface UringOwner {
  /** @param result as of the system call that it stands for, or -errno */
  complete(tag: number, result: number): void;
  /** The end of a run of `complete`. */
  completed(): void;
}

/**
 * An io_uring whose rings are mapped over a SharedArrayBuffer: requests are added and completions found without a foreign call, and
 * what was added goes to the kernel with the loop's next batch of system calls.
 *
 * Owners reserve as many entries as they may have in flight, so that neither ring is ever full. Allocates nothing but when it is made.
 */
export class IoUring implements Poller {
  readonly #loop: EventLoop;
  readonly #fd: number;
  readonly #eventFd: number;
  readonly #watch: Watch;
  readonly #entries: number;
  readonly #memory: UringMemory;
  readonly #words: Uint32Array;
  readonly #sqes: Uint32Array;
  /** Indices in `#words`. */
  readonly #sqHead: number;
  readonly #sqTail: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqFlags: number;
  readonly #cqes: number;
  readonly #sqMask: number;
  readonly #cqMask: number;
  readonly #owners: (UringOwner | undefined)[] = [];
  /** Whether a slot has a file. */
  readonly #files: boolean[] = new Array<boolean>(FILE_SLOTS).fill(false);
  #reserved = 0;
  /** Entries up to here are filled; up to `#published` the kernel may take them. u32, as in the ring. */
  #tail = 0;
  #published = 0;
  #completionsSeen = 0;
  /** The arena's batch in which `io_uring_enter` stands. */
  #enterBatch = -1;

  /** @throws SystemError, HostError as `setUpUring` */
  constructor(loop: EventLoop) {
    this.#loop = loop;
    this.#memory = setUpUring();
    const { fd, rings, sqes, params } = this.#memory;
    const { sq_entries, cq_entries, sq_off, cq_off } = params;
    this.#fd = fd;
    this.#entries = sq_entries;
    this.#words = new Uint32Array(rings.buffer, rings.base, rings.size / 4);
    this.#sqes = new Uint32Array(sqes.buffer, sqes.base, sqes.size / 4);
    this.#sqHead = sq_off.head / 4;
    this.#sqTail = sq_off.tail / 4;
    this.#cqHead = cq_off.head / 4;
    this.#cqTail = cq_off.tail / 4;
    this.#cqFlags = cq_off.flags / 4;
    this.#cqes = cq_off.cqes / 4;
    this.#sqMask = sq_entries - 1;
    this.#cqMask = cq_entries - 1;
    // The array that names entries stays as it is: entry n in place n.
    for (let i = 0; i < sq_entries; i++) this.#words[sq_off.array / 4 + i] = i;

    const slots = new NativeBuffer(4 * FILE_SLOTS);
    for (let i = 0; i < FILE_SLOTS; i++) slots.view.setInt32(4 * i, -1, true);
    this.#register(IORING_REGISTER_FILES, slots.address, FILE_SLOTS);
    this.#eventFd = call('eventfd', 'wait for disks', 0, EFD_CLOEXEC | EFD_NONBLOCK);
    slots.view.setInt32(0, this.#eventFd, true);
    this.#register(IORING_REGISTER_EVENTFD, slots.address, 1);
    this.#restrict();
    this.#words[this.#cqFlags] = IORING_CQ_EVENTFD_DISABLED;
    this.#watch = loop.watch(this.#eventFd, EPOLLIN | EPOLLET, () => {});
    loop.addPoller(this);
  }

  /** How many more entries can be reserved. */
  get room(): number {
    return this.#files.includes(false) ? this.#entries - this.#reserved : 0;
  }

  /** Joins `owner`, who will have no more than `depth` requests in flight. @returns its number, for `add` */
  reserve(owner: UringOwner, depth: number): number {
    if (depth > this.room) throw new RangeError('too many requests for one ring');
    this.#reserved += depth;
    const free = this.#owners.indexOf(undefined);
    if (free < 0) return this.#owners.push(owner) - 1;
    this.#owners[free] = owner;
    return free;
  }

  /** An owner goes, who has nothing in flight. */
  release(owner: number, depth: number): void {
    this.#reserved -= depth;
    this.#owners[owner] = undefined;
  }

  /** Registers a file, so that the kernel need not look it up for each request. @returns its number, for `add` */
  registerFile(fd: number): number {
    const file = this.#files.indexOf(false);
    this.#files[file] = true;
    this.#setFile(file, fd);
    return file;
  }

  /**
   * Its number is free again. The kernel keeps the file open until the number is used again or the ring ends: no system call is made, as a
   * machine that ends may make few.
   */
  unregisterFile(file: number): void {
    this.#files[file] = false;
  }

  /**
   * Adds a request, which `submit` hands to the kernel. Its members mean what they mean for `opcode`, see io_uring_enter(2).
   * @param tag at most 2³² − 1, told with its completion
   * @param file of `registerFile`
   */
  add(
    owner: number,
    tag: number,
    opcode: number,
    file: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
  ): void {
    const sqes = this.#sqes;
    const word = (this.#tail & this.#sqMask) * SQE_WORDS;
    sqes[word] = opcode | (IOSQE_FIXED_FILE << 8);
    sqes[word + 1] = file;
    sqes[word + 2] = offset;
    sqes[word + 3] = Math.floor(offset / 0x1_0000_0000);
    sqes[word + 4] = address;
    sqes[word + 5] = Math.floor(address / 0x1_0000_0000);
    sqes[word + 6] = length;
    sqes[word + 7] = flags;
    sqes[word + 8] = tag;
    sqes[word + 9] = owner;
    this.#tail = (this.#tail + 1) >>> 0;
  }

  /** Whether the kernel has taken all that was added, so that what requests point to may be used again. */
  get taken(): boolean {
    return Atomics.load(this.#words, this.#sqHead) === this.#tail;
  }

  /** Lets the kernel have what was added, with the loop's next system calls. */
  submit(): void {
    if (this.#published === this.#tail) return;
    this.#publish();
    const { arena } = this.#loop;
    if (this.#enterBatch === arena.batch) return;
    // As many as there are, whatever else is added before the call is made.
    arena.post(SYS_io_uring_enter, this.#fd, this.#entries, 0, 0, 0, 0);
    this.#enterBatch = arena.batch;
  }

  /** Lets the kernel have what was added at once. */
  submitNow(): void {
    if (!this.taken) this.#enter(0);
  }

  /** Waits until something completes, and tells it. */
  wait(): void {
    this.#enter(1);
    this.poll();
  }

  poll(): boolean {
    const words = this.#words;
    const tail = Atomics.load(words, this.#cqTail);
    let head = this.#completionsSeen;
    if (head === tail) return this.#submitAgain();
    let told = 0;
    while (head !== tail) {
      const word = this.#cqes + (head & this.#cqMask) * CQE_WORDS;
      const owner = words[word + 1]!;
      told |= 1 << owner;
      this.#owners[owner]?.complete(words[word]!, words[word + 2]! | 0);
      head = (head + 1) >>> 0;
    }
    this.#completionsSeen = head;
    Atomics.store(words, this.#cqHead, head);
    for (let owner = 0; told !== 0; owner++, told >>>= 1) {
      if ((told & 1) !== 0) this.#owners[owner]?.completed();
    }
    return true;
  }

  listen(): boolean {
    // A store with a full barrier behind it: a completion is seen either here or by the eventfd.
    Atomics.store(this.#words, this.#cqFlags, 0);
    return Atomics.load(this.#words, this.#cqTail) !== this.#completionsSeen;
  }

  ignore(): void {
    this.#words[this.#cqFlags] = IORING_CQ_EVENTFD_DISABLED;
  }

  /** Ends it. Only while nothing is in flight. */
  close(): void {
    this.#loop.removePoller(this);
    this.#watch.close();
    tryCall('close', this.#eventFd);
    tryCall('close', this.#fd);
    this.#memory.release();
  }

  /** The kernel may refuse entries for a moment (EAGAIN, EBUSY): they are offered again. @returns whether it was so */
  #submitAgain(): boolean {
    if (this.#enterBatch === this.#loop.arena.batch) return false;
    if (Atomics.load(this.#words, this.#sqHead) === this.#published) return false;
    this.#enter(0);
    return true;
  }

  #publish(): void {
    this.#published = this.#tail;
    Atomics.store(this.#words, this.#sqTail, this.#tail);
  }

  #enter(completions: number): void {
    this.#publish();
    const { arena } = this.#loop;
    if (arena.room === 0) arena.submit();
    const flags = completions === 0 ? 0 : IORING_ENTER_GETEVENTS;
    const index = arena.queue(SYS_io_uring_enter, this.#fd, this.#entries, completions, flags, 0, 0);
    arena.submit();
    const result = arena.result(index);
    if (result < 0 && result !== -EAGAIN && result !== -EBUSY && result !== -EINTR) {
      throw new SystemError('io_uring_enter', -result, 'hand requests to a disk');
    }
  }

  #restrict(): void {
    const { size } = io_uring_restriction;
    const list = new NativeBuffer(RESTRICTIONS.length * size);
    for (const [index, [opcode, op]] of RESTRICTIONS.entries()) {
      io_uring_restriction.write(list.view, index * size, { opcode, op });
    }
    this.#register(IORING_REGISTER_RESTRICTIONS, list.address, RESTRICTIONS.length);
    this.#register(IORING_REGISTER_ENABLE_RINGS, 0, 0);
    list.release();
  }

  #setFile(file: number, fd: number): void {
    const list = io_uring_rsrc_update.size;
    const argument = new NativeBuffer(list + 4);
    argument.view.setInt32(list, fd, true);
    argument.view.setUint32(io_uring_rsrc_update.offset.offset, file, true);
    argument.setNumber64(io_uring_rsrc_update.offset.data, argument.address + list);
    this.#register(IORING_REGISTER_FILES_UPDATE, argument.address, 1);
  }

  #register(operation: number, argument: number, count: number): void {
    call('syscall', 'set up io_uring', SYS_io_uring_register, this.#fd, operation, argument, count, 0, 0);
  }
}
