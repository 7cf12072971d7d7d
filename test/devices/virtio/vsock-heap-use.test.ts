import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';

for (const depth of [1, 32]) {
  test(`a million packets each way at depth ${depth} allocate nothing`, (t) => {
    const script = join(import.meta.dirname, 'vsock-heap-use.ts');
    const args = ['--expose-gc', script, 'pci', '1000000', `${depth}`];
    const { count, bytes, nanosecondsEach } = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }));
    t.log(`${count} packets, ${bytes} bytes, ${nanosecondsEach} ns each`);
    t.true(count >= 1_950_000);
    // Asking for the figure takes some 200 000; the smallest allocation a packet would be 16 000 000.
    t.true(bytes < count);
  });
}
