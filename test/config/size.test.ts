import test from 'ava';
import fc from 'fast-check';
import { formatSize, parseSize } from '../../lib/config/size.ts';

const MIB = 2 ** 20;

test('sizes are powers of 1024, and plain numbers are MiB', (t) => {
  const expected: Record<string, number> = {
    '256': 256 * MIB,
    '256M': 256 * MIB,
    '256m': 256 * MIB,
    '256MB': 256 * MIB,
    '256MiB': 256 * MIB,
    '1G': 1024 * MIB,
    '1.5G': 1536 * MIB,
    '2 GiB': 2048 * MIB,
    '1T': 1024 * 1024 * MIB,
    '1024K': MIB,
    '1.5K': 1536,
    '0': 0,
  };
  for (const [text, bytes] of Object.entries(expected)) t.is(parseSize(text), bytes, text);
});

test('what is not a size is not guessed at', (t) => {
  for (const text of ['', 'M', '-1M', '1,5G', '1e3', '0x10', '12B', '12iB', '1Gi', '1P', '1 2M', 'Infinity', '٣M']) {
    t.is(parseSize(text), undefined, text);
  }
});

test('a size that was formatted reads back as the same', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 20 }), fc.constantFrom(2 ** 10, MIB, 2 ** 30), (count, unit) => {
      return parseSize(formatSize(count * unit)) === count * unit;
    }),
  );
  t.is(formatSize(256 * MIB), '256 MiB');
  t.is(formatSize(2048 * MIB), '2 GiB');
  t.is(formatSize(1.5 * MIB), '1536 KiB');
  t.is(formatSize(1.5 * MIB + 1), '1.5 MiB');
  t.is(formatSize(1000), '1000 bytes');
});
