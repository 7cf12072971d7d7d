import { writeFileSync } from 'node:fs';
import test from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { ExitCode } from '../../lib/errors.ts';
import { printedLines, sumOf } from '../helpers/guest-text.ts';
import { LinuxGuests, line } from '../helpers/linux/guests.ts';
import { runMvm } from '../helpers/mvm.ts';

// How guests find a PCI bus, and all that is on it.

const guests = new LinuxGuests();
test.after.always(() => guests.remove());

const image = guests.file('disk.img');
writeFileSync(image, printedLines(16));
const drive = (drive_id: string) => ({ drive_id, path_on_host: image, is_root_device: false, is_read_only: true });

for (const [way, parameter] of [
  ['the ports alone, without ACPI', 'acpi=off'],
  ['ACPI and memory, without the ports', 'pci=noconf1'],
] as const) {
  test.serial(`Linux finds the bus by ${way}`, async (t) => {
    const { stdout, stderr } = await guests.run({
      transport: 'pci',
      parameters: [parameter],
      // Without ACPI it does not know how to power off.
      actions: ['mount=devtmpfs:none:/dev', 'sum=/dev/vda', 'reboot'],
      sections: { drives: [drive('disk')] },
    });
    t.regex(stdout, line(sumOf('/dev/vda', printedLines(16))));
    t.is(stderr, '');
  });
}

test.serial('a bus holds 31 devices, by the ports and by memory', async (t) => {
  const path = guests.file('many.json');
  for (const boot_args of ['count=10', 'count=10 ecam=0xe0000000']) {
    const drives = Array.from({ length: 30 }, (_, i) => drive(`disk${i}`));
    const config = { 'boot-source': { kernel_image_path: buildGuest('virtio'), boot_args }, drives, entropy: {} };
    writeFileSync(path, JSON.stringify(config));
    const { code, stdout, stderr } = await runMvm(['run', path, '--enable-pci']);
    t.is(code, ExitCode.Ok, stderr);
    t.is([...stdout.matchAll(/^pci device 2 offers/gm)].length, 30);
    t.regex(stdout, /10 chains, 480 bytes/);
  }
});
