import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';

for (const transport of TRANSPORTS) {
  for (const depth of [1, 32]) {
    test(`${transport}: a million requests at depth ${depth} allocate nothing`, (t) => {
      const script = join(import.meta.dirname, 'heap-use.ts');
      const args = ['--expose-gc', script, transport, '1000000', `${depth}`];
      const { requests, bytes } = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }));
      t.log(`${bytes} bytes`);
      // Asking for the figure takes some 200 000; the smallest allocation a request would be 16 000 000.
      t.true(bytes < requests);
    });
  }
}
