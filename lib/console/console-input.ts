import type { InputSource } from '../../devices/byte-stream.ts';
import { EAGAIN, EINTR, EPERM, EPOLLET, EPOLLIN, SYS_read } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { EventLoop, Watch } from '../loop/event-loop.ts';
import { ByteRing } from './byte-ring.ts';
import type { Descriptor } from './descriptor.ts';
import type { EscapeFilter } from './escape.ts';

/** Read ahead of the guest by no more than this. */
const CAPACITY = 1 << 16;
/** Reading stops when the queue is full, and goes on when it is down to this. */
const LOW_WATER = CAPACITY / 2;
/** What is read at once where it must pass the filter. */
const CHUNK = 4096;

/** What makes a terminal different from other inputs. */
export interface TerminalSide {
  readonly filter: EscapeFilter;
  /**
   * Whether we may read: in the background, a read would stop us (`SIGTTIN`). Called when there is something to read, and
   * makes the terminal raw when we have come to the foreground.
   */
  mayRead(): boolean;
}

/**
 * What is typed or piped at the guest, read ahead as far as there is room: then the host's side waits, and nothing is lost.
 * The end of the input is simply that nothing more comes.
 */
export class ConsoleInput implements InputSource {
  readonly #loop: EventLoop;
  readonly #descriptor: Descriptor;
  readonly #terminal: TerminalSide | undefined;
  readonly #ring = new ByteRing(CAPACITY);
  readonly #chunk: NativeBuffer | undefined;
  #onReadable: () => void = () => {};
  #watch: Watch | undefined;
  /** The queue is full. */
  #paused = false;
  /** The terminal is another's; only changes are looked at. */
  #parked = false;
  /** The descriptor cannot be waited for, and need not be: a file. */
  #alwaysReady = false;
  #ended = false;

  constructor(loop: EventLoop, descriptor: Descriptor, terminal?: TerminalSide) {
    this.#loop = loop;
    this.#descriptor = descriptor;
    this.#terminal = terminal;
    if (terminal !== undefined) this.#chunk = new NativeBuffer(CHUNK);
  }

  /** Begins to read. */
  start(): void {
    this.#resume();
    if (this.#ring.length > 0) this.#onReadable();
  }

  /** Whether the input has come to its end (and may still have bytes that were not taken). */
  get ended(): boolean {
    return this.#ended;
  }

  get available(): number {
    return this.#ring.length;
  }

  take(): number {
    const byte = this.#ring.shift();
    if (this.#paused && this.#ring.length <= LOW_WATER) this.#resume();
    return byte;
  }

  takeInto(target: Uint8Array, start: number, end: number): number {
    const count = this.#ring.shiftInto(target, start, end);
    if (this.#paused && this.#ring.length <= LOW_WATER) this.#resume();
    return count;
  }

  onReadable(listener: () => void): void {
    this.#onReadable = listener;
  }

  /** Puts a byte behind what was typed so far, where there is room. */
  insert(byte: number): void {
    this.#ring.push(byte);
  }

  /** Looks again whether the terminal is ours, after a SIGCONT. */
  recheck(): void {
    if (this.#parked && this.#terminal?.mayRead()) this.#unpark();
  }

  /** Stops reading. */
  close(): void {
    this.#end();
    this.#ring.release();
    this.#chunk?.release();
  }

  #end(): void {
    this.#ended = true;
    this.#unwatch();
  }

  #resume(): void {
    if (this.#ended) return;
    this.#paused = false;
    if (!this.#alwaysReady) this.#startWatch();
    // Not told to the listener: who takes from the queue finds the new bytes behind those that it takes.
    if (this.#alwaysReady || this.#readsToEnd) this.#readAll();
  }

  /**
   * A stream is read until it has no more, not once an event: no event comes for the end of a named pipe whose last writer was gone
   * before we opened it (fifo(7) says nothing of it; Linux's fs/pipe.c, pipe_poll).
   */
  get #readsToEnd(): boolean {
    return this.#descriptor.nonBlocking && this.#descriptor.kind === 'stream';
  }

  #startWatch(): void {
    try {
      this.#watch ??= this.#loop.watch(this.#descriptor.fd, EPOLLIN, () => this.#ready());
    } catch (error) {
      if (!(error instanceof SystemError) || error.errno !== EPERM) throw error;
      this.#alwaysReady = true;
    }
  }

  #ready(): void {
    if (this.#terminal !== undefined && !this.#terminal.mayRead()) {
      // Edge-triggered, what the shell leaves unread does not wake us again and again.
      if (!this.#parked) this.#watch?.modify(EPOLLIN | EPOLLET);
      this.#parked = true;
      return;
    }
    this.#unpark();
    const before = this.#ring.length;
    if (this.#readsToEnd) this.#readAll();
    else this.#read();
    if (this.#ring.length > before) this.#onReadable();
  }

  #unpark(): void {
    if (this.#parked) this.#watch?.modify(EPOLLIN);
    this.#parked = false;
  }

  #readAll(): void {
    while (!this.#paused && !this.#ended && this.#read()) {}
  }

  /** One read, as much as there is room for. @returns whether another may bring more */
  #read(): boolean {
    const ring = this.#ring;
    const chunk = this.#chunk;
    // The filter may give out one byte more than it gets.
    const room = chunk === undefined ? ring.writeLength : Math.min(CHUNK, ring.room - 1);
    const address = chunk === undefined ? ring.writeAddress : chunk.address;
    if (room <= 0) {
      this.#paused = true;
      this.#unwatch();
      return false;
    }
    const count = this.#loop.arena.invoke(SYS_read, this.#descriptor.fd, address, room);
    if (count > 0) {
      if (chunk === undefined) ring.produce(count);
      else this.#terminal!.filter.pass(chunk.bytes, count, ring);
      return true;
    }
    if (count === -EINTR) return true;
    // 0 is the end; a terminal that was hung up is EIO, and ends the input as well.
    if (count !== -EAGAIN || this.#alwaysReady) this.#end();
    return false;
  }

  #unwatch(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }
}
