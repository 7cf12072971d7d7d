import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { ExitCode } from '../../lib/errors.ts';
import { MIB } from '../../lib/memory/layout.ts';
import { runMvm } from '../helpers/mvm.ts';

// A hostile guest on the real KVM, in the executable that users get.

const ROUNDS = 5;
const ATTACKS = 13;

const folder = mkdtempSync(join(tmpdir(), 'mvm-hostile-'));
test.after.always(() => rmSync(folder, { recursive: true }));

for (const transport of ['mmio', 'pci']) {
  test.serial(
    `${transport}: what a hostile driver does stops its device alone, until a reset; it is counted, and told once`,
    async (t) => {
      t.timeout(120_000);
      const [path, disk, metrics] = ['vm.json', 'disk.img', `${transport}.metrics`].map((name) => join(folder, name));
      writeFileSync(disk!, Buffer.alloc(MIB, 'x'));
      const drive = { drive_id: 'disk', path_on_host: disk, is_root_device: false, is_read_only: true };
      const config = {
        'boot-source': { kernel_image_path: buildGuest('hostile'), boot_args: `rounds=${ROUNDS}` },
        'machine-config': { transport },
        drives: [drive],
        entropy: {},
        metrics: { metrics_path: metrics },
      };
      writeFileSync(path!, JSON.stringify(config));
      const { code, stdout, stderr, elapsed } = await runMvm(['run', path!]);
      t.is(code, ExitCode.Ok, stderr + stdout);
      for (const id of [2, 4])
        t.regex(stdout, new RegExp(`^device ${id} works after ${ROUNDS * ATTACKS} attacks\\r?$`, 'm'));
      // Of each device once in ten seconds.
      const warnings = stderr.trimEnd().split('\n');
      t.true(warnings.length <= 2 * (1 + Math.floor(elapsed / 10_000)), stderr);
      const warning = /^mvm: warning: .*: the guest's driver is at fault, the device needs a reset: /;
      for (const text of warnings) t.regex(text, warning);
      for (const name of ['drive "disk"', 'entropy device'])
        t.true(stderr.includes(`${name}: the guest's driver`), stderr);
      const counted = JSON.parse(readFileSync(metrics!, 'utf8').trimEnd().split('\n').at(-1)!);
      t.is(counted.block_disk.driver_faults, ROUNDS * ATTACKS);
      t.is(counted.entropy.driver_faults, ROUNDS * ATTACKS);
    },
  );
}
