import test from 'ava';
import { runGuest } from '../helpers/bare-metal.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

interface Range {
  readonly address: number;
  readonly size: number;
  readonly type: number;
}

function rangesOf(stdout: string): Range[] {
  return [...stdout.matchAll(/^([0-9a-f]+) \+([0-9a-f]+) type (\d+)$/gm)].map(([, address, size, type]) => ({
    address: Number.parseInt(address!, 16),
    size: Number.parseInt(size!, 16),
    type: Number(type),
  }));
}

for (const pvhNote of [true, false]) {
  for (const [memory, bytes] of [
    ['4M', 4 * MIB],
    ['128M', 128 * MIB],
    ['3G', 3 * GIB],
    ['5G', 5 * GIB],
    ['16G', 16 * GIB],
  ] as const) {
    const protocol = pvhNote ? 'PVH' : "Linux's protocol";
    test.serial(`${memory} by ${protocol}: the guest finds all of it and each word is its own`, async (t) => {
      t.timeout(120_000);
      const { code, stdout, stderr } = await runGuest(t, 'memory', { memory, pvhNote });
      t.is(code, 0, stderr);
      const ram = rangesOf(stdout).filter(({ type }) => type === 1);
      const end = Math.max(...ram.map(({ address, size }) => address + size));
      t.is(end, bytes <= 3 * GIB ? bytes : GIB + bytes);
      // All but what lies between conventional memory and 1 MiB, and the tables there.
      const total = ram.reduce((sum, { size }) => sum + size, 0);
      t.true(total <= bytes && total >= bytes - MIB / 2, `${total} of ${bytes}`);
      t.regex(stdout, /^map ok, /m);
      const [, touched, wrong] = stdout.match(/^(\d+) words touched, (\d+) wrong$/m)!;
      t.is(wrong, '0');
      // One every 2 MiB of what is above the guest itself.
      t.true(Number(touched) >= (bytes - 4 * MIB) / (2 * MIB), touched);
    });
  }
}
