import test from 'ava';
import { RateLimitedSink } from '../../lib/console/rate-limited-sink.ts';
import { TestSink } from '../devices/serial-bench.ts';

test('the burst, then the bucket, then nothing until it refills', (t) => {
  let now = 0;
  const sink = new TestSink();
  const limited = new RateLimitedSink(sink, { size: 10, oneTimeBurst: 5, refillTime: 1000 }, () => now);
  for (let i = 0; i < 100; i++) t.true(limited.put(i));
  t.is(sink.bytes.length, 15);
  t.is(limited.droppedBytes, 85);
  now = 500;
  for (let i = 0; i < 100; i++) limited.put(i);
  t.is(sink.bytes.length, 20);
  now = 100_000;
  for (let i = 0; i < 100; i++) limited.put(i);
  t.is(sink.bytes.length, 30, 'the burst does not come again');
});

test('a write is cut to what is allowed, and counts as taken', (t) => {
  const sink = new TestSink();
  const limited = new RateLimitedSink(sink, { size: 10, oneTimeBurst: 0, refillTime: 1000 }, () => 0);
  t.is(limited.write(Buffer.from('0123456789abc'), 1, 13), 12);
  t.is(sink.text, '123456789a');
  t.is(limited.droppedBytes, 2);
});

test('what a congested sink does not take is not charged', (t) => {
  let room = 3;
  const taken: number[] = [];
  const limited = new RateLimitedSink(
    {
      put: () => false,
      write: (bytes, start, end) => {
        const count = Math.min(room, end - start);
        taken.push(...bytes.subarray(start, start + count));
        return count;
      },
      onDrain: () => {},
    },
    { size: 10, oneTimeBurst: 0, refillTime: 1000 },
    () => 0,
  );
  const bytes = Buffer.from('0123456789');
  t.is(limited.write(bytes, 0, 10), 3);
  room = 10;
  t.is(limited.write(bytes, 3, 10), 7);
  t.is(Buffer.from(taken).toString(), '0123456789');
  t.is(limited.droppedBytes, 0);
});

test('congestion and its end pass through', (t) => {
  const sink = new TestSink();
  sink.limit = 1;
  const limited = new RateLimitedSink(sink, { size: 10, oneTimeBurst: 0, refillTime: 1000 }, () => 0);
  let drained = 0;
  limited.onDrain(() => drained++);
  t.false(limited.put(1));
  sink.drain();
  t.is(drained, 1);
});
