import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { Transport } from '../../lib/config/types.ts';
import { ExitCode } from '../../lib/errors.ts';
import { printedLines, sumOf } from '../helpers/guest-text.ts';
import { LinuxGuests, line } from '../helpers/linux/guests.ts';
import { ext4Image, fileIn, partitionedImage } from '../helpers/linux/images.ts';
import type { MvmResult } from '../helpers/mvm.ts';

// Drives as Linux uses them, in the executable that users get.

const TRANSPORTS: readonly Transport[] = ['mmio', 'pci'];
const ENGINES = ['Sync', 'Async'] as const;

const guests = new LinuxGuests();
test.after.always(() => guests.remove());

function drive(id: string, path: string, more: Record<string, unknown> = {}) {
  return { drive_id: id, path_on_host: path, is_root_device: false, is_read_only: false, ...more };
}

/** Done by the first test that asks. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

for (const transport of TRANSPORTS) {
  const file = (engine: string) => guests.file(`${transport}-${engine}.img`);
  // A boot takes seconds, so one shows several things: a drive with each engine, first vda and then vdb.
  const run = once((): Promise<MvmResult> => {
    for (const engine of ENGINES) ext4Image(file(engine));
    const drives = ENGINES.map((engine) => {
      return drive(engine, file(engine), { io_engine: engine, cache_type: 'Writeback' });
    });
    const actions = [
      'mount=devtmpfs:none:/dev',
      'mount=proc:none:/proc',
      ...['mount=ext4:/dev/vda:/Sync', 'mount=ext4:/dev/vdb:/Async'],
      ...ENGINES.flatMap((engine) => [`write=/${engine}/first:256`, `umount=/${engine}`]),
      // What was unmounted is read from the disk again.
      ...['mount=ext4:/dev/vda:/Sync', 'mount=ext4:/dev/vdb:/Async'],
      ...ENGINES.flatMap((engine) => [`sum=/${engine}/first`, `umount=/${engine}`]),
      ...['unbind=virtio0', 'unbind=virtio1', 'sum=/dev/vda', 'bind=virtio0', 'bind=virtio1'],
      ...['mount=ext4:/dev/vda:/Sync', 'mount=ext4:/dev/vdb:/Async'],
      ...ENGINES.flatMap((engine) => [`write=/${engine}/second:128`, `umount=/${engine}`]),
      ...['mount=ext4:/dev/vda:/Sync', 'mount=ext4:/dev/vdb:/Async'],
      ...ENGINES.flatMap((engine) => [`sum=/${engine}/second`]),
      'poweroff',
    ];
    return guests.run({ actions, transport, sections: { drives } });
  });

  for (const engine of ENGINES) {
    test.serial(
      `${transport}, ${engine}: what the guest writes to an ext4 it reads, and it is in the image`,
      async (t) => {
        const { code, stdout, stderr } = await run();
        t.is(code, ExitCode.Ok, stderr);
        t.is(stderr, '');
        t.regex(stdout, line(sumOf(`/${engine}/first`, printedLines(256))));
        t.deepEqual(fileIn(file(engine), 'first'), printedLines(256));
      },
    );

    test.serial(`${transport}, ${engine}: a drive works again after its driver was unbound and bound`, async (t) => {
      const { stdout } = await run();
      t.regex(stdout, /^init: cannot read \/dev\/vda: error 2\r?$/m, 'in between there was none');
      t.regex(stdout, line(sumOf(`/${engine}/second`, printedLines(128))));
      t.deepEqual(fileIn(file(engine), 'second'), printedLines(128));
    });
  }
}

for (const engine of ENGINES) {
  test.serial(`${engine}: what was fsynced is in the image after mvm was killed`, async (t) => {
    const image = guests.file(`killed-${engine}.img`);
    ext4Image(image);
    await using mvm = await guests.start({
      actions: ['mount=devtmpfs:none:/dev', 'mount=ext4:/dev/vda:/mnt', 'write=/mnt/data:256', 'idle'],
      sections: { drives: [drive('data', image, { io_engine: engine, cache_type: 'Writeback' })] },
    });
    await mvm.waitFor(line('synced /mnt/data'));
    mvm.process.kill('SIGKILL');
    const { code, stderr } = await mvm.end();
    t.is(code, null);
    t.is(stderr, '');
    t.deepEqual(fileIn(image, 'data'), printedLines(256));
  });
}

test.serial('two drives, of which one is read-only: the guest can read it, and not write it', async (t) => {
  const [first, second] = [guests.file('first.img'), guests.file('second.img')];
  ext4Image(first);
  const content = printedLines(64);
  writeFileSync(second, content);
  const { code, stdout, stderr } = await guests.run({
    actions: [
      'mount=devtmpfs:none:/dev',
      ...['mount=ext4:/dev/vda:/mnt', 'write=/mnt/data:4'],
      ...['sum=/dev/vdb', 'write=/dev/vdb:4', 'sum=/dev/vdb'],
      ...['random=/dev/hwrng', 'random=/dev/hwrng'],
      'poweroff',
    ],
    sections: { drives: [drive('first', first), drive('second', second, { is_read_only: true })], entropy: {} },
  });
  t.is(code, ExitCode.Ok, stderr);
  t.is(stdout.match(new RegExp(line(sumOf('/dev/vdb', content)), 'gm'))?.length, 2);
  // EPERM or EACCES: the block layer refuses to open it.
  t.regex(stdout, /^init: cannot write \/dev\/vdb: error (1|13|30)\r?$/m);
  t.deepEqual(fileIn(first, 'data'), printedLines(4));
  const [one, other] = [...stdout.matchAll(/^random: ([0-9a-f]{32})\r?$/gm)].map(([, hex]) => hex);
  t.truthy(one);
  t.truthy(other);
  t.not(one, other);
});

test.serial('the root file system is found by the UUID of its partition', async (t) => {
  const uuid = '5c8a7d12-4e0b-4f3a-9d61-0f2b7c3e9a10';
  const content = guests.file('root');
  for (const folder of ['dev', 'proc']) mkdirSync(join(content, folder), { recursive: true });
  copyFileSync((await LinuxGuests.guest).init, join(content, 'init'));
  writeFileSync(join(content, 'data'), printedLines(16));
  const root = guests.file('root.img');
  partitionedImage(root, uuid, content);
  const data = guests.file('data.img');
  ext4Image(data);
  const { code, stdout, stderr } = await guests.run({
    // The guest finds drives in this order, the root device first: a partition of vda, whatever the order in the file.
    actions: ['sum=/data', 'mount=proc:none:/proc', 'sum=/proc/cmdline', 'sum=/dev/vda1', 'poweroff'],
    parameters: ['init=/init', 'rootfstype=ext4'],
    withoutInitrd: true,
    sections: {
      drives: [drive('data', data), drive('root', root, { is_root_device: true, partuuid: uuid, is_read_only: true })],
    },
  });
  t.is(code, ExitCode.Ok, stderr + stdout);
  t.regex(stdout, line(sumOf('/data', printedLines(16))));
  t.regex(stdout, /^\/dev\/vda1: 6291456 bytes/m);
});

test.serial('an image that another machine writes is refused', async (t) => {
  const image = guests.file('shared.img');
  ext4Image(image);
  const sections = { drives: [drive('data', image)] };
  await using first = await guests.start({ actions: ['idle'], sections });
  await first.waitFor(/^CPUs: 1/m);
  const second = await guests.run({ actions: ['poweroff'], sections });
  t.is(second.code, ExitCode.BadConfig);
  t.regex(second.stderr, /^mvm: .*shared\.img.*\n$/);
  first.process.kill('SIGTERM');
  t.is((await first.end()).code, 143);
});
