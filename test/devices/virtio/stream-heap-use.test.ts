import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';

for (const kind of ['net-tx', 'net-rx', 'console']) {
  for (const depth of [1, 32]) {
    test(`${kind}: a million buffers at depth ${depth} allocate nothing`, (t) => {
      const script = join(import.meta.dirname, 'stream-heap-use.ts');
      const args = ['--expose-gc', script, kind, 'pci', '1000000', `${depth}`];
      const { count, bytes, nanosecondsEach } = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }));
      t.log(`${bytes} bytes, ${nanosecondsEach} ns each`);
      // Asking for the figure takes some 200 000; the smallest allocation a buffer would be 16 000 000.
      t.true(bytes < count);
    });
  }
}
