import type { OutputSink } from '../../devices/byte-stream.ts';
import type { TokenBucketConfig } from '../config/types.ts';

/**
 * Lets so many bytes a time through and drops the rest (Firecracker's `serial.rate_limiter`): a guest that floods its console
 * fills no disk. It is not slowed down.
 */
export class RateLimitedSink implements OutputSink {
  readonly #sink: OutputSink;
  readonly #bucket: TokenBucketConfig;
  readonly #now: () => number;
  #burst: number;
  #tokens: number;
  #refilledAt: number;
  /** Firecracker's `uart.rate_limiter_dropped_bytes`. */
  droppedBytes = 0;

  /** @param now milliseconds, of a clock that only goes forward */
  constructor(sink: OutputSink, bucket: TokenBucketConfig, now: () => number = () => performance.now()) {
    this.#sink = sink;
    this.#bucket = bucket;
    this.#now = now;
    this.#burst = bucket.oneTimeBurst;
    this.#tokens = bucket.size;
    this.#refilledAt = now();
  }

  put(byte: number): boolean {
    if (this.#take(1) === 1) return this.#sink.put(byte);
    this.droppedBytes++;
    return true;
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    const allowed = this.#take(end - start);
    const taken = this.#sink.write(bytes, start, start + allowed);
    if (taken < allowed) {
      // What the sink did not take comes again.
      this.#tokens += allowed - taken;
      return taken;
    }
    this.droppedBytes += end - start - allowed;
    return end - start;
  }

  onDrain(listener: () => void): void {
    this.#sink.onDrain(listener);
  }

  /** Takes up to `count` tokens: first of the burst, which is not refilled, then of the bucket. @returns how many it got */
  #take(count: number): number {
    const fromBurst = Math.min(count, this.#burst);
    this.#burst -= fromBurst;
    const wanted = count - fromBurst;
    if (this.#tokens < wanted) this.#refill();
    const fromBucket = Math.min(wanted, Math.floor(this.#tokens));
    this.#tokens -= fromBucket;
    return fromBurst + fromBucket;
  }

  #refill(): void {
    const now = this.#now();
    const { size, refillTime } = this.#bucket;
    this.#tokens = Math.min(size, this.#tokens + ((now - this.#refilledAt) * size) / refillTime);
    this.#refilledAt = now;
  }
}
