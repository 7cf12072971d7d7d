import type { DescriptorChain } from '../../devices/virtio/chain.ts';
import { IoVectors } from '../block/io-vectors.ts';
import { EAGAIN, EINTR, EPIPE, SYS_write, SYS_writev } from '../ffi/constants.ts';
import { CALLS_PER_BATCH, type NativeArena } from '../loop/arena.ts';
import { OutputBuffer } from './output-buffer.ts';
import { type Stream, StreamState } from './stream.ts';

/** Segments of one batch: no more than one writev takes (IOV_MAX). */
const MAX_SEGMENTS = 1024;
/** Buffers that are kept for the next stream that needs one. */
const MAX_SPARE_BUFFERS = 8;

/** A descriptor that is none. */
const NO_FD = -1;

/** Told what became of what was sent. */
export interface SendListener {
  forwarded(stream: Stream, bytes: number): void;
  /** The application receives no more. */
  broken(stream: Stream): void;
  failed(stream: Stream): void;
  /** Something is kept until the socket can be written again. */
  waits(stream: Stream): void;
}

/**
 * Writes from guest memory to sockets: all that is sent on one stream in one system call, the streams of a batch in one foreign call.
 * What a socket does not take is copied, and written when it can be.
 */
export class SendBatch {
  readonly #arena: NativeArena;
  readonly #vectors: IoVectors;
  readonly #guest: Buffer;
  readonly #listener: SendListener;
  readonly #spareBuffers: OutputBuffer[] = [];
  /** Streams that send in this batch, and how many they are. */
  readonly #streams: Stream[] = [];
  /** Segments in the order in which they were added, linked by stream. */
  readonly #offsets = new Float64Array(MAX_SEGMENTS);
  readonly #lengths = new Float64Array(MAX_SEGMENTS);
  readonly #next = new Int32Array(MAX_SEGMENTS);
  #segments = 0;
  /** The segments of one stream. */
  readonly #run = { offsets: new Float64Array(MAX_SEGMENTS), lengths: new Float64Array(MAX_SEGMENTS) };
  readonly #results = new Float64Array(CALLS_PER_BATCH);

  /**
   * @param address host address of guest memory's first byte in its buffer
   * @param guest all of that buffer
   */
  constructor(arena: NativeArena, address: number, guest: Buffer, listener: SendListener) {
    this.#arena = arena;
    this.#vectors = new IoVectors(address);
    this.#guest = guest;
    this.#listener = listener;
  }

  /** Adds segments `from` up to `to` of a chain to what a stream sends. */
  add(stream: Stream, chain: DescriptorChain, from: number, to: number): void {
    if (this.#segments + to - from > MAX_SEGMENTS) this.run();
    // Told of in `run`, it may have ended.
    if (stream.state === StreamState.Closed) return;
    if (stream.output !== undefined) {
      for (let i = from; i < to; i++) stream.output.append(this.#guest, chain.offsets[i]!, chain.lengths[i]!);
      return;
    }
    this.touch(stream);
    for (let i = from; i < to; i++) {
      const place = this.#segments++;
      this.#offsets[place] = chain.offsets[i]!;
      this.#lengths[place] = chain.lengths[i]!;
      this.#next[place] = -1;
      if (stream.firstSegment < 0) stream.firstSegment = place;
      else this.#next[stream.lastSegment] = place;
      stream.lastSegment = place;
      stream.sending += chain.lengths[i]!;
    }
  }

  /** Writes what is kept of a stream with this batch. */
  touch(stream: Stream): void {
    if (stream.inBatch) return;
    stream.inBatch = true;
    this.#streams.push(stream);
  }

  /** Writes, and tells what became of it. */
  run(): void {
    const streams = this.#streams;
    let done = 0;
    while (done < streams.length) {
      const count = Math.min(CALLS_PER_BATCH, streams.length - done);
      this.#write(done, count);
      for (let i = 0; i < count; i++) this.#settle(streams[done + i]!, this.#results[i]!);
      done += count;
    }
    streams.length = 0;
    this.#segments = 0;
    this.#vectors.clear();
  }

  /** Forgets what a stream was to send. */
  drop(stream: Stream): void {
    stream.firstSegment = -1;
    stream.sending = 0;
    const { output } = stream;
    if (output === undefined) return;
    stream.output = undefined;
    output.clear();
    if (this.#spareBuffers.length < MAX_SPARE_BUFFERS) this.#spareBuffers.push(output);
    else output.release();
  }

  #write(first: number, count: number): void {
    const arena = this.#arena;
    if (arena.room < count) arena.submit();
    let last = 0;
    for (let i = first; i < first + count; i++) {
      const { fd, output, firstSegment } = this.#streams[i]!;
      if (output !== undefined) last = arena.queue(SYS_write, fd, output.address, output.length);
      // It was closed meanwhile: its place in the batch stays, and its descriptor may be another's.
      else if (firstSegment < 0) last = arena.queue(SYS_write, NO_FD, 0, 0);
      else {
        const many = this.#vectors.gather(this.#run, 0, this.#collect(firstSegment));
        last = arena.queue(many ? SYS_writev : SYS_write, fd, this.#vectors.address, this.#vectors.length);
      }
    }
    arena.submit();
    // Before anybody is told, who may use the arena.
    for (let i = 0; i < count; i++) this.#results[i] = arena.result(last - count + 1 + i);
  }

  /** Puts the segments of one stream in a row. @returns how many they are */
  #collect(first: number): number {
    let count = 0;
    for (let place = first; place >= 0; place = this.#next[place]!) {
      this.#run.offsets[count] = this.#offsets[place]!;
      this.#run.lengths[count] = this.#lengths[place]!;
      count++;
    }
    return count;
  }

  #settle(stream: Stream, result: number): void {
    stream.inBatch = false;
    if (stream.state === StreamState.Closed || (stream.sending === 0 && stream.output === undefined)) return;
    if (result < 0 && result !== -EAGAIN && result !== -EINTR) {
      this.drop(stream);
      if (result === -EPIPE) this.#listener.broken(stream);
      else this.#listener.failed(stream);
      return;
    }
    const written = Math.max(0, result);
    if (stream.output !== undefined) {
      stream.output.remove(written);
      if (stream.output.length === 0) this.drop(stream);
    } else if (written < stream.sending) this.#keep(stream, written);
    stream.firstSegment = -1;
    stream.sending = 0;
    if (stream.output !== undefined) this.#listener.waits(stream);
    if (written > 0) this.#listener.forwarded(stream, written);
  }

  /** Copies what a socket did not take. */
  #keep(stream: Stream, written: number): void {
    const output = this.#spareBuffers.pop() ?? new OutputBuffer();
    stream.output = output;
    let skip = written;
    for (let place = stream.firstSegment; place >= 0; place = this.#next[place]!) {
      const length = this.#lengths[place]!;
      if (skip < length) output.append(this.#guest, this.#offsets[place]! + skip, length - skip);
      skip = Math.max(0, skip - length);
    }
  }
}
