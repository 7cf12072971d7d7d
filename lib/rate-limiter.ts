import type { RequestLimiter } from '../devices/virtio/limiter.ts';
import type { RateLimiterConfig, TokenBucketConfig } from './config/types.ts';

/** Tokens that rounding may lose between being told how long to wait and asking again. */
const ROUNDING = 1e-6;

/**
 * A token bucket with Firecracker's meaning: it begins full, with a burst on top that is spent first and never refilled, and is refilled
 * evenly, `size` tokens in `refillTime`.
 *
 * What needs more tokens than the bucket holds is let through when it is full, and leaves a debt. It has no clock: times are given,
 * in milliseconds.
 */
export class TokenBucket {
  readonly #size: number;
  /** Tokens a millisecond. */
  readonly #rate: number;
  #burst: number;
  #tokens: number;
  #filledAt: number;

  constructor(config: TokenBucketConfig, now: number) {
    this.#size = config.size;
    this.#rate = config.size / config.refillTime;
    this.#burst = config.oneTimeBurst;
    this.#tokens = config.size;
    this.#filledAt = now;
  }

  /** Milliseconds until so many can be spent, if nobody else spends any; 0: now. */
  delay(count: number, now: number): number {
    this.#refill(now);
    const needed = Math.min(this.#size, count - this.#burst);
    const missing = needed - this.#tokens;
    return missing <= ROUNDING ? 0 : missing / this.#rate;
  }

  /** Takes them. Only where `delay` has just said 0. */
  spend(count: number): void {
    const burst = Math.min(this.#burst, count);
    this.#burst -= burst;
    this.#tokens -= count - burst;
  }

  #refill(now: number): void {
    this.#tokens = Math.min(this.#size, this.#tokens + (now - this.#filledAt) * this.#rate);
    this.#filledAt = now;
  }
}

/** What wakes a limiter. */
export interface LimiterTimer {
  /** Milliseconds from now; only the last counts. */
  arm(milliseconds: number): void;
}

/** Limits bytes and operations, each by a bucket. A bucket of no size or no refill time limits nothing, as in Firecracker. */
export class RateLimiter implements RequestLimiter {
  readonly #now: () => number;
  readonly #timer: LimiterTimer;
  #bandwidth: TokenBucket | undefined;
  #operations: TokenBucket | undefined;
  #listener: (() => void) | undefined;
  #waiting = false;

  /**
   * @param createTimer makes the timer that calls back
   * @param now milliseconds of a clock that never goes back
   */
  constructor(
    config: RateLimiterConfig,
    createTimer: (onTime: () => void) => LimiterTimer,
    now: () => number = () => performance.now(),
  ) {
    this.#now = now;
    this.#timer = createTimer(() => this.#ready());
    this.update(config);
  }

  /** Sets new limits, with full buckets. */
  update(config: RateLimiterConfig): void {
    this.#bandwidth = this.#bucket(config.bandwidth);
    this.#operations = this.#bucket(config.ops);
    if (this.#waiting) this.#ready();
  }

  take(operations: number, bytes: number): boolean {
    if (this.#waiting) return false;
    const now = this.#now();
    const delay = Math.max(this.#operations?.delay(operations, now) ?? 0, this.#bandwidth?.delay(bytes, now) ?? 0);
    if (delay > 0) {
      this.#waiting = true;
      this.#timer.arm(delay);
      return false;
    }
    this.#operations?.spend(operations);
    this.#bandwidth?.spend(bytes);
    return true;
  }

  onReady(listener: () => void): void {
    this.#listener = listener;
  }

  #ready(): void {
    if (!this.#waiting) return;
    this.#waiting = false;
    this.#listener?.();
  }

  #bucket(config: TokenBucketConfig | undefined): TokenBucket | undefined {
    if (config === undefined || config.size === 0 || config.refillTime === 0) return undefined;
    return new TokenBucket(config, this.#now());
  }
}
