import test from 'ava';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';
import { CALLS_PER_BATCH, NativeArena } from '../../lib/loop/arena.ts';

const SYS_getpid = 39;
const SYS_getppid = 110;
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
