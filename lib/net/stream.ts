import type { NetBackend, NetListener } from '../../devices/virtio/net/backend.ts';
import { HEADER_SIZE, MAX_FRAME_SIZE } from '../../devices/virtio/net/constants.ts';
import {
  EAGAIN,
  EINTR,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  SYS_readv,
  SYS_recvfrom,
  SYS_write,
  SYS_writev,
} from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { EventLoop, Poller, Watch } from '../loop/event-loop.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { FrameVectors } from './frame-vectors.ts';

const MSG_PEEK = 2;

/** Frames of a batch. */
const BATCH = 32;
/** Pieces of a frame: what the device gives at most, its length before it, and its overflow. */
const PIECES = 1002;
/** Each frame comes behind its length, a big-endian u32. */
const PREFIX = 4;
/** The shortest frame, and the EtherType of local experiments (<linux/if_ether.h>). */
const ETH_ZLEN = 60;
const ETH_P_802_EX1 = 0x88b5;
/** How far ahead it is looked for frames: two of the longest, or a batch of usual ones. */
const LOOK_AHEAD = 2 * (MAX_FRAME_SIZE + PREFIX);

/** What the other end may do to a network that is a stream. */
export interface StreamOptions {
  /** Who is at the other end, for warnings. */
  readonly name: string;
  /** The guest's hardware address, where it was given one. */
  readonly mac?: Uint8Array | undefined;
  readonly warn: (message: string) => void;
}

/**
 * A network whose frames go over a stream socket, each behind its length: what passt and QEMU's `stream` network speak.
 *
 * Bytes go straight between the socket and guest memory: what has come is looked at (`MSG_PEEK`) to see where frames end, and then read
 * to where they belong. A frame that the socket takes in part is kept until it takes the rest. There are no offloads. Where the other
 * end goes away, the guest's link goes down.
 */
export class StreamBackend implements NetBackend, Poller {
  listener: NetListener | undefined;
  readonly features = 0n;
  readonly batch = BATCH;
  readonly transmitHeaders = new DataView(new ArrayBuffer(BATCH * HEADER_SIZE));
  readonly receiveHeaders = new DataView(new ArrayBuffer(BATCH * HEADER_SIZE));
  readonly receivedLengths = new Int32Array(BATCH);
  readonly overflow: Uint8Array;
  linkUp = true;
  readable = true;
  transmitFailures = 0;
  readonly #fd: number;
  readonly #loop: EventLoop;
  readonly #watch: Watch;
  readonly #options: StreamOptions;
  readonly #guest: Uint8Array;
  readonly #overflow = new NativeBuffer(BATCH * MAX_FRAME_SIZE);
  /** Lengths of the frames to send, as they go before them; behind them, where those of received frames go to be forgotten. */
  readonly #prefixes = new NativeBuffer((BATCH + 1) * PREFIX);
  readonly #ahead = new NativeBuffer(LOOK_AHEAD);
  /** The end of a frame that the socket has begun to take. */
  readonly #rest = new NativeBuffer(MAX_FRAME_SIZE + PREFIX);
  #restStart = 0;
  #restEnd = 0;
  readonly #out: FrameVectors;
  readonly #in: FrameVectors;
  readonly #lengths = new Uint32Array(BATCH);
  /** Room for the frames of a batch: pieces of frame n from `#roomFirst[n]` on. */
  readonly #roomFirst = new Uint32Array(BATCH + 1);
  readonly #roomOffsets = new Float64Array(BATCH * PIECES);
  readonly #roomLengths = new Float64Array(BATCH * PIECES);
  #rooms = 0;
  #pieces = 0;

  /** @param fd a connected stream socket that does not block; the backend closes it */
  constructor(loop: EventLoop, memory: HostMemory, fd: number, options: StreamOptions) {
    this.#fd = fd;
    this.#loop = loop;
    this.#options = options;
    this.#guest = memory.guest.bytes;
    this.overflow = this.#overflow.bytes;
    this.#out = new FrameVectors(memory.addressOf(0), BATCH, PIECES);
    this.#in = new FrameVectors(memory.addressOf(0), BATCH, PIECES);
    this.#watch = loop.watch(fd, EPOLLIN | EPOLLOUT | EPOLLET, (events) => this.#ready(events));
    loop.addPoller(this);
  }

  /**
   * There are no offloads. But the other end is told the guest's address, by a frame of a type for experiments (IEEE 802): passt learns it from
   * what the guest sends, and until then sends to nobody, so that no forwarded port would reach a guest that keeps silent.
   */
  configure(): void {
    const { mac } = this.#options;
    if (mac === undefined || !this.linkUp || this.#restStart !== this.#restEnd) return;
    const { bytes, view } = this.#rest;
    bytes.fill(0, 0, PREFIX + ETH_ZLEN);
    view.setUint32(0, ETH_ZLEN);
    bytes.fill(0xff, PREFIX, PREFIX + 6);
    bytes.set(mac, PREFIX + 6);
    view.setUint16(PREFIX + 12, ETH_P_802_EX1);
    this.#restStart = 0;
    this.#restEnd = PREFIX + ETH_ZLEN;
    this.#writeRest();
  }

  beginTransmit(length: number): void {
    const index = this.#out.frames;
    this.#lengths[index] = length;
    this.#prefixes.view.setUint32(index * PREFIX, length);
    this.#out.begin();
    this.#out.addHost(this.#prefixes.address + index * PREFIX, PREFIX);
  }

  addTransmit(offset: number, length: number): void {
    this.#out.addGuest(offset, length);
  }

  transmit(): number {
    const count = this.#out.frames;
    let taken = 0;
    this.transmitFailures = 0;
    while (taken < count && this.linkUp && this.#restStart === this.#restEnd) {
      const to = this.#out.runFrom(taken);
      const vectors = this.#out.lengthOf(taken, to);
      const written = this.#loop.arena.invoke(SYS_writev, this.#fd, this.#out.address(taken), vectors);
      if (written === -EAGAIN) break;
      if (written === -EINTR) continue;
      if (written < 0) this.#lose(errnoName(-written));
      else taken = this.#account(taken, to, written);
    }
    if (!this.linkUp) {
      this.transmitFailures = count - taken;
      taken = count;
    }
    this.#out.clear();
    return taken;
  }

  beginReceive(): void {
    this.#roomFirst[this.#rooms] = this.#pieces;
    this.#rooms++;
  }

  addReceive(offset: number, length: number): void {
    this.#roomOffsets[this.#pieces] = offset;
    this.#roomLengths[this.#pieces] = length;
    this.#pieces++;
  }

  receive(): void {
    this.#roomFirst[this.#rooms] = this.#pieces;
    this.receivedLengths.fill(0, 0, this.#rooms);
    this.#plan(this.#look());
    const { arena } = this.#loop;
    const count = this.#in.frames;
    for (let from = 0; from < count; ) {
      const to = this.#in.runFrom(from);
      if (arena.room === 0) arena.submit();
      // All of it is there: nobody else reads this socket.
      arena.queue(SYS_readv, this.#fd, this.#in.address(from), this.#in.lengthOf(from, to));
      from = to;
    }
    arena.submit();
    this.#in.clear();
    this.#rooms = 0;
    this.#pieces = 0;
  }

  poll(): boolean {
    return this.readable && (this.listener?.receive() ?? false);
  }

  /** Closes the socket. */
  close(): void {
    this.#loop.removePoller(this);
    this.readable = false;
    this.linkUp = false;
    this.#watch.close();
    tryCall('close', this.#fd);
    for (const memory of [this.#out, this.#in, this.#overflow, this.#prefixes, this.#ahead, this.#rest]) {
      memory.release();
    }
  }

  /** Looks at what has come. @returns how many bytes */
  #look(): number {
    if (!this.linkUp) return 0;
    const seen = this.#loop.arena.invoke(SYS_recvfrom, this.#fd, this.#ahead.address, LOOK_AHEAD, MSG_PEEK);
    if (seen > 0) return seen;
    if (seen === -EAGAIN) this.readable = false;
    else if (seen === 0) this.#lose('it has closed the connection');
    else if (seen !== -EINTR) this.#lose(errnoName(-seen));
    return 0;
  }

  /** Finds whole frames in what was looked at, and says where each is to go. */
  #plan(seen: number): void {
    const { view } = this.#ahead;
    let at = 0;
    for (let i = 0; i < this.#rooms; i++) {
      if (seen - at < PREFIX) break;
      const length = view.getUint32(at);
      if (length === 0 || length > MAX_FRAME_SIZE) {
        this.#lose(`a frame of ${length} bytes`);
        return;
      }
      if (seen - at - PREFIX < length) {
        // Nothing to be had before more comes: told by an edge.
        if (i === 0) this.readable = false;
        return;
      }
      this.#place(i, length);
      at += PREFIX + length;
    }
    if (at === 0) this.readable = false;
  }

  /** Puts a frame into its room, and what does not fit into its overflow. */
  #place(index: number, length: number): void {
    this.#in.begin();
    this.#in.addHost(this.#prefixes.address + BATCH * PREFIX, PREFIX);
    let left = length;
    for (let i = this.#roomFirst[index]!; i < this.#roomFirst[index + 1]! && left > 0; i++) {
      const part = Math.min(left, this.#roomLengths[i]!);
      this.#in.addGuest(this.#roomOffsets[i]!, part);
      left -= part;
    }
    if (left > 0) this.#in.addHost(this.#overflow.address + index * MAX_FRAME_SIZE, left);
    this.receivedLengths[index] = length;
  }

  /** Sees how far the socket has come with frames `from` up to `to`. @returns the first that it has not begun to take */
  #account(from: number, to: number, written: number): number {
    let left = written;
    for (let i = from; i < to; i++) {
      const size = PREFIX + this.#lengths[i]!;
      if (left === 0) return i;
      if (left < size) {
        this.#keep(i, left);
        return i + 1;
      }
      left -= size;
    }
    return to;
  }

  /** Keeps what of a frame comes behind its first `sent` bytes. */
  #keep(frame: number, sent: number): void {
    const rest = this.#rest.bytes;
    let skip = sent;
    let end = 0;
    for (let i = 0; i < this.#out.length(frame); i++) {
      const length = this.#out.pieceLength(frame, i);
      const source = i === 0 ? this.#prefixes.bytes : this.#guest;
      const offset = i === 0 ? frame * PREFIX : this.#out.guestOffset(frame, i);
      for (let k = Math.min(skip, length); k < length; k++) rest[end++] = source[offset + k]!;
      skip -= Math.min(skip, length);
    }
    this.#restStart = 0;
    this.#restEnd = end;
  }

  #ready(events: number): void {
    if ((events & EPOLLIN) !== 0) this.readable = true;
    // What came before the end is read first; the end then shows by itself.
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && (events & EPOLLIN) === 0) this.#lose('it has closed the connection');
    if ((events & EPOLLOUT) !== 0 && this.#writeRest()) this.listener?.writable();
  }

  /** @returns whether there is nothing left to write before the next frame */
  #writeRest(): boolean {
    while (this.#restStart < this.#restEnd && this.linkUp) {
      const start = this.#rest.address + this.#restStart;
      const written = this.#loop.arena.invoke(SYS_write, this.#fd, start, this.#restEnd - this.#restStart);
      if (written > 0) this.#restStart += written;
      else if (written === -EAGAIN) return false;
      else if (written !== -EINTR) this.#lose(errnoName(-written));
    }
    return true;
  }

  /** The other end is gone: the guest sees its link go down, and what it sends is lost. */
  #lose(reason: string): void {
    this.readable = false;
    if (!this.linkUp) return;
    this.linkUp = false;
    this.#restStart = this.#restEnd;
    this.#watch.close();
    this.#options.warn(`the network of ${this.#options.name} is gone, its link is down: ${reason}`);
    this.listener?.linkChanged();
    this.listener?.writable();
  }
}
