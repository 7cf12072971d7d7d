import type { OutputSink } from '../../devices/byte-stream.ts';
import type { MvmError } from '../errors.ts';
import { EAGAIN, EINTR, EPOLLOUT, SYS_write } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { EventLoop, Watch } from '../loop/event-loop.ts';
import { OutputError } from '../output/stdout.ts';
import { ByteRing } from './byte-ring.ts';
import type { Descriptor } from './descriptor.ts';

/**
 * All that is ever kept for a host that does not take it. Congestion begins much lower; the rest is for guests that go on printing
 * after a while: Linux's console waits 10 ms a character, and fills it in hours.
 */
const CAPACITY = 1 << 20;
/** Congested from here on, until no more than `LOW_WATER` is left. */
const HIGH_WATER = 1 << 16;
const LOW_WATER = 1 << 14;
/** So much is written out without waiting for the loop to go idle. */
const FLUSH_THRESHOLD = 1 << 14;
/** The most that one write hands to the host. */
const WRITE_LIMIT = 1 << 16;
/** What a writable pipe or socket takes without blocking (pipe(7), `PIPE_BUF`), and what a writable terminal takes (Linux's `WAKEUP_CHARS`). */
const STREAM_CHUNK = 4096;
const TERMINAL_CHUNK = 256;
const POLLOUT = 0x004;

/** What went out, in bytes and calls. */
export interface ConsoleOutputMetrics {
  bytes: number;
  writes: number;
  /** Bytes lost: the guest went on printing while the host took nothing. */
  droppedBytes: number;
}

/**
 * What the guest prints, on its way to a file descriptor. Bytes gather until the loop goes idle or there are many, and then leave
 * in one system call. Nothing blocks; memory is bounded. Node ignores SIGPIPE and SIGXFSZ, so a failure is always an errno.
 */
export class ConsoleOutput implements OutputSink {
  readonly metrics: ConsoleOutputMetrics = { bytes: 0, writes: 0, droppedBytes: 0 };
  readonly #loop: EventLoop;
  readonly #descriptor: Descriptor;
  readonly #onError: (error: MvmError) => void;
  readonly #ring = new ByteRing(CAPACITY);
  /** How much may be written at once after poll(2) said that something may, or 0: the descriptor never blocks. */
  readonly #chunk: number;
  readonly #pollfd: NativeBuffer | undefined;
  #watch: Watch | undefined;
  #congested = false;
  #failed = false;
  #onDrain: () => void = () => {};
  #whenEmpty: (() => void)[] = [];

  /** @param onError the host's end failed (closed early, disk full): told once; from then on everything is thrown away */
  constructor(loop: EventLoop, descriptor: Descriptor, onError: (error: MvmError) => void) {
    this.#loop = loop;
    this.#descriptor = descriptor;
    this.#onError = onError;
    this.#chunk = 0;
    if (!descriptor.nonBlocking && descriptor.kind !== 'file') {
      this.#chunk = descriptor.kind === 'terminal' ? TERMINAL_CHUNK : STREAM_CHUNK;
      this.#pollfd = new NativeBuffer(8);
      this.#pollfd.view.setInt32(0, descriptor.fd, true);
      this.#pollfd.view.setInt16(4, POLLOUT, true);
    }
    loop.beforeSleep(() => this.flush());
  }

  put(byte: number): boolean {
    if (!this.#ring.push(byte)) this.#drop(1);
    if (this.#ring.length >= FLUSH_THRESHOLD) this.#relieve();
    return !this.#congested;
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    let done = start;
    while (done < end && !this.#congested) {
      done += this.#ring.pushFrom(bytes, done, Math.min(end, done + HIGH_WATER));
      if (this.#ring.length >= FLUSH_THRESHOLD) this.#relieve();
    }
    return done - start;
  }

  onDrain(listener: () => void): void {
    this.#onDrain = listener;
  }

  /** Writes out what has gathered, unless the host's end is known to take nothing just now. */
  flush(): void {
    if (this.#ring.length === 0 || this.#watch !== undefined) return;
    if (this.#failed) this.#discard();
    else this.#writeOut();
  }

  /** Resolves when all has been written out, or the output has failed. */
  drain(): Promise<void> {
    this.flush();
    if (this.#ring.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenEmpty.push(resolve));
  }

  /** Stops looking at the descriptor. What has not been written is lost. */
  close(): void {
    this.flush();
    this.#failed = true;
    this.#discard();
    this.#ring.release();
    this.#pollfd?.release();
  }

  #relieve(): void {
    this.flush();
    this.#congested ||= this.#ring.length >= HIGH_WATER;
  }

  #writeOut(): void {
    const ring = this.#ring;
    const { fd } = this.#descriptor;
    while (ring.length > 0) {
      if (this.#chunk > 0 && !this.#isWritable()) {
        this.#wait();
        break;
      }
      const limit = this.#chunk > 0 ? this.#chunk : WRITE_LIMIT;
      const written = this.#loop.arena.invoke(SYS_write, fd, ring.readAddress, Math.min(ring.readLength, limit));
      if (written > 0) {
        this.metrics.writes++;
        this.metrics.bytes += written;
        ring.consume(written);
      } else if (written === -EAGAIN || written === 0) {
        this.#wait();
        break;
      } else if (written !== -EINTR) {
        this.#fail(-written);
        return;
      }
    }
    if (ring.length === 0) this.#unwatch();
    this.#afterWrite();
  }

  #afterWrite(): void {
    if (this.#congested && this.#ring.length <= LOW_WATER) {
      this.#congested = false;
      this.#onDrain();
    }
    if (this.#ring.length === 0 && this.#whenEmpty.length > 0) {
      const waiting = this.#whenEmpty;
      this.#whenEmpty = [];
      for (const resolve of waiting) resolve();
      this.#loop.yieldToNode();
    }
  }

  #isWritable(): boolean {
    const { address, view } = this.#pollfd!;
    // An error is an answer too: the write will tell which.
    return tryCall('poll', address, 1, 0) === 1 && view.getInt16(6, true) !== 0;
  }

  #wait(): void {
    this.#watch ??= this.#loop.watch(this.#descriptor.fd, EPOLLOUT, () => this.#writeOut());
  }

  #unwatch(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }

  #fail(errno: number): void {
    this.#failed = true;
    this.#discard();
    const { name } = this.#descriptor;
    this.#onError(OutputError.from(new SystemError('write', errno, 'write what the guest prints'), name));
  }

  #discard(): void {
    this.#drop(this.#ring.length);
    this.#ring.clear();
    this.#unwatch();
    this.#afterWrite();
  }

  #drop(count: number): void {
    this.metrics.droppedBytes += count;
  }
}
