import test from 'ava';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';
import { CALLS_PER_BATCH, NativeArena } from '../../lib/loop/arena.ts';

const SYS_getpid = 39;
const SYS_getppid = 110;
const SYS_pread64 = 17;
const SYS_writev = 20;
const SYS_memfd_create = 319;
const SYS_close = 3;
const EBADF = 9;

const arena = new NativeArena();

test('a batch makes its calls in order and keeps each result', (t) => {
  const first = arena.queue(SYS_getpid, 0);
  const second = arena.queue(SYS_close, -1);
  const third = arena.queue(SYS_getppid, 0);
  arena.submit();
  t.is(arena.result(first), process.pid);
  t.is(arena.result(second), -EBADF);
  t.is(arena.result(third), process.ppid);
});

test('a batch can be full, but not more', (t) => {
  for (let i = 0; i < CALLS_PER_BATCH; i++) arena.queue(SYS_getpid, 0);
  t.throws(() => arena.queue(SYS_getpid, 0), { instanceOf: RangeError });
  arena.submit();
  for (let i = 0; i < CALLS_PER_BATCH; i++) t.is(arena.result(i), process.pid);
});

test('invoke makes one call', (t) => {
  t.is(arena.invoke(SYS_getpid, 0), process.pid);
  t.is(arena.invoke(SYS_close, -1), -EBADF);
});

test('16 bytes are exchanged where they are as expected, and only then', (t) => {
  const memory = new NativeBuffer(16, 16);
  memory.view.setBigUint64(0, 1n, true);
  memory.view.setBigUint64(8, 2n ** 64n - 1n, true);
  const found: [bigint, bigint] = [0n, 0n];
  t.false(arena.compareExchange16(memory.address, [1n, 2n], [3n, 4n], found));
  t.deepEqual(found, [1n, 2n ** 64n - 1n]);
  t.is(memory.view.getBigUint64(0, true), 1n);
  t.true(arena.compareExchange16(memory.address, [1n, 2n ** 64n - 1n], [3n, 4n], found));
  t.is(memory.view.getBigUint64(0, true), 3n);
  t.is(memory.view.getBigUint64(8, true), 4n);
});

test('a series makes one call for each list of vectors, and stops behind a failure if it is to', (t) => {
  const pieces = ['one', 'two', 'three'].map((text) => {
    const memory = new NativeBuffer(text.length);
    memory.bytes.set(Buffer.from(text));
    return memory;
  });
  const vectors = new NativeBuffer(16 * pieces.length);
  for (const [i, { address, size }] of pieces.entries()) {
    vectors.setNumber64(16 * i, address);
    vectors.setNumber64(16 * i + 8, size);
  }
  const starts = new NativeBuffer(16);
  for (const [i, start] of [0, 2, 3].entries()) starts.view.setUint32(4 * i, start, true);
  const results = new NativeBuffer(8);
  const seen = (): number[] => [0, 4].map((offset) => results.view.getInt32(offset, true));
  const file = arena.invoke(SYS_memfd_create, starts.address, 0);
  const run = (fd: number, stop: boolean): number => {
    results.bytes.fill(0);
    const place = arena.queueSeries(SYS_writev, fd, vectors.address, starts.address, 2, results.address, stop);
    const behind = arena.queue(SYS_getpid, 0);
    arena.submit();
    t.is(arena.result(behind), process.pid);
    return arena.result(place);
  };
  t.is(run(file, true), 2);
  t.deepEqual(seen(), [6, 5]);
  t.is(run(-1, false), 2);
  t.deepEqual(seen(), [-EBADF, -EBADF]);
  t.is(run(-1, true), 1);
  t.deepEqual(seen(), [-EBADF, 0]);
  const back = new NativeBuffer(11);
  t.is(arena.invoke(SYS_pread64, file, back.address, 11, 0), 11);
  t.is(Buffer.from(back.bytes).toString(), 'onetwothree');
  arena.invoke(SYS_close, file);
});
