import test from 'ava';
import { InlineWrites } from '../../lib/block/inline-writes.ts';

const SLOW = 1 << 20;

/** How many of the next writes are not allowed. */
function rest(writes: InlineWrites): number {
  let count = 0;
  while (!writes.allows(0, 4096, 0)) count++;
  return count;
}

test('whole pages of a file are written at once, parts of pages and block devices are not', (t) => {
  const writes = new InlineWrites(true);
  t.true(writes.allows(8192, 12288, 1 << 20));
  t.false(writes.allows(512, 4096, 0));
  t.false(writes.allows(4096, 512, 0));
  t.false(new InlineWrites(false).allows(0, 4096, 0));
});

test('no more is written at once than others can wait for', (t) => {
  const writes = new InlineWrites(true);
  t.true(writes.allows(0, 1 << 20, 1 << 20));
  t.false(writes.allows(0, 1 << 30, 0));
  t.false(writes.allows(0, 4096, 1 << 30));
});

/** Two batches that take so many kilocycles. */
function twice(writes: InlineWrites, kilocycles: number, bytes = 4096): void {
  writes.took(kilocycles, bytes);
  writes.took(kilocycles, bytes);
}

test('after batches that had to wait, some writes go through the ring: more each time, fewer after batches that were fast', (t) => {
  const writes = new InlineWrites(true);
  twice(writes, 100);
  t.is(rest(writes), 0);
  twice(writes, SLOW);
  const first = rest(writes);
  t.true(first > 100);
  twice(writes, SLOW);
  t.is(rest(writes), 2 * first);
  for (let i = 0; i < 1000; i++) twice(writes, SLOW);
  const longest = rest(writes);
  for (let i = 0; i < longest; i++) twice(writes, 100);
  twice(writes, SLOW);
  t.is(rest(writes), first);
});

test('a batch that took long alone may have been stopped by the host’s scheduler', (t) => {
  const writes = new InlineWrites(true);
  for (let i = 0; i < 100; i++) {
    writes.took(SLOW, 4096);
    t.is(rest(writes), 0);
    writes.took(100, 4096);
  }
});

test('what takes long because it is much has not waited', (t) => {
  const writes = new InlineWrites(true);
  twice(writes, SLOW, 1 << 30);
  t.is(rest(writes), 0);
});
