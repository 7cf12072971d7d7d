import test from 'ava';
import fc from 'fast-check';
import { RateLimiter, TokenBucket } from '../lib/rate-limiter.ts';

/** A clock and a timer that tests turn by hand. */
function fakeTime() {
  let now = 1000;
  let due: number | undefined;
  let onTime: (() => void) | undefined;
  return {
    now: () => now,
    get due() {
      return due === undefined ? undefined : due - now;
    },
    createTimer: (callback: () => void) => {
      onTime = callback;
      return {
        arm: (milliseconds: number) => {
          due = now + milliseconds;
        },
      };
    },
    /** Lets time pass, and the timer be due on its way. */
    pass(milliseconds: number) {
      const end = now + milliseconds;
      while (due !== undefined && due <= end) {
        now = due;
        due = undefined;
        onTime?.();
      }
      now = end;
    },
  };
}

const bucket = (size: number, refillTime: number, oneTimeBurst = 0) => ({ size, refillTime, oneTimeBurst });

test('a bucket begins full and is refilled evenly', (t) => {
  const tokens = new TokenBucket(bucket(100, 1000), 0);
  t.is(tokens.delay(100, 0), 0);
  tokens.spend(100);
  t.is(tokens.delay(1, 0), 10);
  t.is(tokens.delay(50, 100), 400);
  t.is(tokens.delay(10, 100), 0);
  t.is(tokens.delay(100, 10_000), 0);
  tokens.spend(100);
  t.is(tokens.delay(100, 10_000), 1000, 'it holds no more than its size');
});

test('the burst is spent first, once', (t) => {
  const tokens = new TokenBucket(bucket(10, 100, 25), 0);
  t.is(tokens.delay(20, 0), 0);
  tokens.spend(20);
  t.is(tokens.delay(15, 0), 0, 'five of the burst and ten of the bucket');
  tokens.spend(15);
  t.is(tokens.delay(1, 0), 10);
  t.is(tokens.delay(10, 1000), 0);
  tokens.spend(10);
  t.is(tokens.delay(1, 1000), 10);
});

test('what is larger than the bucket goes when it is full, and leaves a debt', (t) => {
  const tokens = new TokenBucket(bucket(10, 100), 0);
  t.is(tokens.delay(30, 0), 0);
  tokens.spend(30);
  t.is(tokens.delay(1, 0), 210);
  t.is(tokens.delay(30, 210), 90);
  t.is(tokens.delay(30, 300), 0);
});

test('a limiter lets through as much as both buckets allow, and tells when to ask again', (t) => {
  const time = fakeTime();
  const limiter = new RateLimiter({ ops: bucket(2, 1000), bandwidth: bucket(4096, 1000) }, time.createTimer, time.now);
  let ready = 0;
  limiter.onReady(() => ready++);
  t.true(limiter.take(1, 0));
  t.true(limiter.take(1, 4096));
  t.false(limiter.take(1, 4096));
  t.is(time.due, 1000, 'the longer of the two waits');
  t.false(limiter.take(1, 0));
  time.pass(999);
  t.is(ready, 0);
  t.false(limiter.take(1, 0), 'nobody overtakes who waits');
  time.pass(1);
  t.is(ready, 1);
  t.true(limiter.take(1, 4096));
});

test('a bucket of no size or no refill time limits nothing', (t) => {
  const time = fakeTime();
  const limiter = new RateLimiter({ ops: bucket(0, 1000), bandwidth: bucket(1, 0) }, time.createTimer, time.now);
  for (let i = 0; i < 100; i++) t.true(limiter.take(1, 1 << 30));
  t.true(new RateLimiter({ ops: undefined, bandwidth: undefined }, time.createTimer, time.now).take(1, 1));
});

test('new limits count at once, also for who waits', (t) => {
  const time = fakeTime();
  const limiter = new RateLimiter({ ops: bucket(1, 1_000_000), bandwidth: undefined }, time.createTimer, time.now);
  let ready = 0;
  limiter.onReady(() => ready++);
  limiter.take(1, 0);
  t.false(limiter.take(1, 0));
  limiter.update({ ops: bucket(5, 1000), bandwidth: undefined });
  t.is(ready, 1);
  t.true(limiter.take(1, 0));
  time.pass(1_000_000);
  t.is(ready, 1, 'the old timer wakes nobody');
});

test('whatever is asked for, the rate in the long run is the one configured', (t) => {
  fc.assert(
    fc.property(
      fc.record({ size: fc.integer({ min: 1, max: 10_000 }), refillTime: fc.integer({ min: 1, max: 5000 }) }),
      fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 20 }),
      ({ size, refillTime }, sizes) => {
        const time = fakeTime();
        const limiter = new RateLimiter(
          { ops: undefined, bandwidth: bucket(size, refillTime) },
          time.createTimer,
          time.now,
        );
        let total = 0;
        let last = 0;
        const start = time.now();
        for (let i = 0; i < 200; i++) {
          last = sizes[i % sizes.length] as number;
          // Asked again exactly when told to: one more wait at most, for rounding.
          for (let waits = 0; !limiter.take(1, last); waits++) {
            if (waits > 3) return false;
            time.pass(time.due ?? 0);
          }
          total += last;
        }
        // All but the first bucketful and the last debt had to be waited for.
        const expected = ((total - size) * refillTime) / size;
        const elapsed = time.now() - start;
        const slack = ((Math.max(size, last) * refillTime) / size) * 1.01 + 1;
        return elapsed > expected - slack && elapsed < expected + slack;
      },
    ),
  );
  t.pass();
});
