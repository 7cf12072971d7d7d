import type { RateLimiterConfig, TokenBucketConfig } from '../../../lib/config/types.ts';
import { RateLimiter } from '../../../lib/rate-limiter.ts';
import { below, onceIn, pick, type Tape } from './tape.ts';

/** A rate limiter whose clock and timer a fuzzer holds. */
export class TestLimiter {
  readonly limiter: RateLimiter;
  now = 0;
  #due = Number.POSITIVE_INFINITY;
  #onTime = (): void => {};

  constructor(config: RateLimiterConfig) {
    const createTimer = (onTime: () => void) => {
      this.#onTime = onTime;
      return {
        arm: (milliseconds: number) => {
          if (!(milliseconds > 0) || !Number.isFinite(milliseconds)) throw new Error(`a wait of ${milliseconds} ms`);
          // A timer has steps, which are larger than what rounding loses.
          this.#due = Math.ceil((this.now + milliseconds) * 1000) / 1000;
        },
      };
    };
    this.limiter = new RateLimiter(config, createTimer, () => this.now);
  }

  get armed(): boolean {
    return this.#due !== Number.POSITIVE_INFINITY;
  }

  /** Lets time pass, up to when the timer is due. */
  advance(milliseconds: number): void {
    this.now = Math.min(this.now + milliseconds, this.#due);
    if (this.now < this.#due) return;
    this.#due = Number.POSITIVE_INFINITY;
    this.#onTime();
  }

  /** Lets as much time pass as it takes. */
  expire(): void {
    if (this.armed) this.advance(Number.POSITIVE_INFINITY);
  }
}

/** Any limits; some limit nothing. */
export function anyLimits(tape: Tape): RateLimiterConfig {
  const bucket = (size: number): TokenBucketConfig => {
    return {
      size: below(tape, size),
      refillTime: below(tape, 2000),
      oneTimeBurst: onceIn(tape, 2) ? below(tape, size) : 0,
    };
  };
  return {
    bandwidth: onceIn(tape, 4) ? undefined : bucket(0x10_0000),
    ops: onceIn(tape, 4) ? undefined : bucket(1000),
  };
}

/** What one bucket has let through since it was full. */
class Account {
  readonly #bucket: TokenBucketConfig;
  readonly #since: number;
  #granted = 0;
  /** The most that one request was larger than the bucket: such a one goes when it is full, and leaves a debt. */
  #overdraft = 0;

  constructor(bucket: TokenBucketConfig, since: number) {
    this.#bucket = bucket;
    this.#since = since;
  }

  add(count: number, now: number): void {
    const { size, refillTime, oneTimeBurst } = this.#bucket;
    if (size === 0 || refillTime === 0) return;
    this.#granted += count;
    this.#overdraft = Math.max(this.#overdraft, count - size);
    const allowed = oneTimeBurst + size + (size / refillTime) * (now - this.#since) + this.#overdraft;
    if (this.#granted > allowed * (1 + 1e-9) + 1e-3)
      throw new Error(`${this.#granted} were let through, not ${allowed}`);
  }
}

/** Somebody who asks a rate limiter for anything, at any time. */
export class HostileLimiter {
  requests = 0;
  #told = false;

  run(tape: Tape, steps: number): void {
    let config = anyLimits(tape);
    const subject = new TestLimiter(config);
    const { limiter } = subject;
    let accounts = this.#accounts(config, 0);
    limiter.onReady(() => {
      this.#told = true;
    });
    for (let i = 0; i < steps && !tape.ended; i++) {
      const operations = below(tape, onceIn(tape, 8) ? 3000 : 4);
      const bytes = below(tape, onceIn(tape, 8) ? 0x40_0000 : 0x2000);
      switch (below(tape, 4)) {
        case 0:
          subject.advance(pick(tape, [0.01, 1, 50, 3000]));
          break;
        case 1:
          if (!onceIn(tape, 16)) break;
          config = anyLimits(tape);
          limiter.update(config);
          accounts = this.#accounts(config, subject.now);
          break;
        default:
          this.requests++;
          if (limiter.take(operations, bytes)) {
            accounts.operations?.add(operations, subject.now);
            accounts.bytes?.add(bytes, subject.now);
          } else if (onceIn(tape, 2)) this.#wait(subject, { operations, bytes }, accounts);
      }
    }
    // Whatever was asked, with time it goes on.
    subject.expire();
    for (let i = 0; !limiter.take(1, 512); i++) {
      if (i > 3) throw new Error('it lets nothing through any more');
      subject.expire();
    }
  }

  /** Who was refused is told when to ask again, and gets it then; or a second time, where it was told of another's wait. */
  #wait(subject: TestLimiter, request: { operations: number; bytes: number }, accounts: Accounts): void {
    for (let asked = 0; asked < 3; asked++) {
      if (!subject.armed) throw new Error('nobody will tell when to ask again');
      this.#told = false;
      subject.expire();
      if (!this.#told) throw new Error('the one who waits was not told');
      if (!subject.limiter.take(request.operations, request.bytes)) continue;
      accounts.operations?.add(request.operations, subject.now);
      accounts.bytes?.add(request.bytes, subject.now);
      return;
    }
    throw new Error('what was asked for is never let through');
  }

  #accounts({ ops, bandwidth }: RateLimiterConfig, now: number): Accounts {
    return {
      operations: ops === undefined ? undefined : new Account(ops, now),
      bytes: bandwidth === undefined ? undefined : new Account(bandwidth, now),
    };
  }
}

interface Accounts {
  readonly operations: Account | undefined;
  readonly bytes: Account | undefined;
}
