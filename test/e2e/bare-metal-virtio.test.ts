import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { ExitCode } from '../../lib/errors.ts';
import { runMvm } from '../helpers/mvm.ts';

// The virtio library of the bare-metal guests, on the simplest device: with every mixture of the ring's features, polling and with interrupts.

const folder = mkdtempSync(join(tmpdir(), 'mvm-bare-metal-virtio-'));
test.after.always(() => rmSync(folder, { recursive: true }));

const INDIRECT_DESC = 1 << 28;
const EVENT_IDX = 1 << 29;

for (const [wait, features, name] of [
  ['poll', INDIRECT_DESC | EVENT_IDX, 'polls, with indirect descriptors and event indices'],
  ['poll', 0, 'polls, with neither'],
  ['irq', INDIRECT_DESC | EVENT_IDX, 'takes interrupts, with indirect descriptors and event indices'],
  ['irq', 0, 'takes interrupts, with neither'],
] as const) {
  for (const transport of ['mmio', 'pci'])
    test.serial(`${transport}: a guest that ${name}, gets its random bytes`, async (t) => {
      t.timeout(120_000);
      const path = join(folder, 'vm.json');
      const boot_args = `wait=${wait} features=${features} count=300`;
      const config = {
        'boot-source': { kernel_image_path: buildGuest('virtio'), boot_args },
        'machine-config': { transport },
        entropy: {},
      };
      writeFileSync(path, JSON.stringify(config));
      const { code, stdout, stderr } = await runMvm(['run', path]);
      t.is(code, ExitCode.Ok, stderr);
      t.regex(stdout, new RegExp(`^${transport} device 4 offers [0-9a-f]+\\r?$`, 'm'));
      t.regex(stdout, /300 chains, 14400 bytes, random\r?$/m);
      const [, sleeps, interrupts] = /^kicks \d+, sleeps (\d+), interrupts (\d+), status f\r?$/m.exec(stdout)!;
      if (wait === 'poll') t.deepEqual([sleeps, interrupts], ['0', '0']);
      else t.true(Number(interrupts) > 0 && Number(interrupts) <= Number(sleeps) + 1, stdout);
    });
}
