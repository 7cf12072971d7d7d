import test from 'ava';
import { KernelEntropy } from '../../lib/entropy/kernel-entropy.ts';
import { GRND_NONBLOCK, SYS_getrandom } from '../../lib/ffi/constants.ts';
import { NativeArena } from '../../lib/loop/arena.ts';
import { HostMemory } from '../../lib/memory/host-memory.ts';
import { compareWithC } from '../helpers/c-layout.ts';

const EFAULT = 14;

function setUp() {
  const memory = new HostMemory(1 << 20, 'None');
  const source = new KernelEntropy(new NativeArena(), memory.addressOf(0));
  return { source, bytes: memory.guest.bytes, base: memory.guest.offsetOf(0, 1) };
}

test('numbers are those of Linux', (t) => {
  compareWithC(t, { headers: ['sys/syscall.h', 'sys/random.h'], constants: { SYS_getrandom, GRND_NONBLOCK } });
});

test('random bytes arrive in guest memory, and nowhere else', (t) => {
  const { source, bytes, base } = setUp();
  const places = [source.fill(base + 100, 64), source.fill(base + 0x1_0000, 0x1_0000)];
  t.true(
    bytes.subarray(base).every((byte) => byte === 0),
    'not before submit',
  );
  source.submit();
  t.deepEqual(
    places.map((place) => source.result(place)),
    [64, 0x1_0000],
  );
  const counts = new Uint32Array(256);
  for (const byte of bytes.subarray(base + 0x1_0000, base + 0x2_0000)) counts[byte]!++;
  t.true(counts.every((count) => count > 128 && count < 400));
  t.true(bytes.subarray(base + 100, base + 164).some((byte) => byte !== 0));
  t.true(bytes.subarray(base, base + 100).every((byte) => byte === 0));
  t.true(bytes.subarray(base + 164, base + 0x1_0000).every((byte) => byte === 0));
});

test('a full batch, again and again, each with new bytes', (t) => {
  const { source, bytes, base } = setUp();
  const seen = new Set<string>();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < source.capacity; i++) t.is(source.fill(base + 32 * i, 16), i);
    t.throws(() => source.fill(base, 1), { instanceOf: RangeError });
    source.submit();
    for (let i = 0; i < source.capacity; i++) {
      t.is(source.result(i), 16);
      seen.add(Buffer.from(bytes.subarray(base + 32 * i, base + 32 * i + 16)).toString('hex'));
    }
  }
  t.is(seen.size, 3 * source.capacity);
});

test('an error is told of the buffer that had it', (t) => {
  const { source, base } = setUp();
  source.fill(base, 8);
  source.fill(-(2 ** 46), 8);
  source.fill(base, 8);
  source.submit();
  t.deepEqual([source.result(0), source.result(1), source.result(2)], [8, -EFAULT, 8]);
});
