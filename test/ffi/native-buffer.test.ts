import test from 'ava';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../lib/ffi/constants.ts';
import { call, tryCall } from '../../lib/ffi/libc.ts';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';

for (const alignment of [16, 64, 4096, 2 ** 21]) {
  test(`the address is aligned to ${alignment}`, (t) => {
    const { address, base, buffer, size } = new NativeBuffer(1000, alignment);
    t.is(address % alignment, 0);
    t.true(base + size <= buffer.byteLength);
  });
}

test('what is written at the address is seen in the view, and the other way round', (t) => {
  const from = new NativeBuffer(64);
  const to = new NativeBuffer(64);
  from.bytes.set([1, 2, 3, 4]);
  const [read, write] = pipe();
  t.is(tryCall('write', write, from.address, 4), 4);
  t.is(tryCall('read', read, to.address + 8, 4), 4);
  t.deepEqual([...to.bytes.subarray(8, 12)], [1, 2, 3, 4]);
  tryCall('close', read);
  tryCall('close', write);
});

test('a mapping over it is seen at once', (t) => {
  const buffer = new NativeBuffer(8192, 4096);
  buffer.bytes[4096] = 7;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  t.is(tryCall('mmap', buffer.address + 4096, 4096, PROT_READ | PROT_WRITE, flags, -1, 0), buffer.address + 4096);
  t.is(buffer.bytes[4096], 0);
});

test('numbers of 64 bits keep 53 bits and their sign', (t) => {
  const buffer = new NativeBuffer(8);
  for (const value of [0, 1, -1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, -(2 ** 53) + 1, -(2 ** 32), 0x1234_5678_9abc]) {
    buffer.setNumber64(0, value);
    t.is(buffer.getNumber64(0), value);
    t.is(buffer.view.getBigInt64(0, true), BigInt(value));
  }
});

function pipe(): [number, number] {
  const fds = new NativeBuffer(8);
  call('pipe2', 'make a pipe', fds.address, 0);
  return [fds.view.getInt32(0, true), fds.view.getInt32(4, true)];
}
