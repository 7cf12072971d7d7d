import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { ExitCode } from '../../lib/errors.ts';
import { MIB } from '../../lib/memory/layout.ts';
import { blockGuestArguments } from '../helpers/block-guest.ts';
import { EXECUTABLE, Mvm, runMvm } from '../helpers/mvm.ts';

// Disks in bulk, by a bare-metal guest, which runs natively everywhere. One after the other: each uses both a vCPU and the loop.

const ENGINES = ['Sync', 'Async'] as const;
const TRANSPORTS = ['mmio', 'pci'] as const;

const folder = mkdtempSync(join(tmpdir(), 'mvm-bulk-block-'));
test.after.always(() => rmSync(folder, { recursive: true }));
test.beforeEach((t) => {
  t.timeout(300_000);
});

const config = join(folder, 'vm.json');

/** An image of so many MiB without a written block. */
function sparseImage(name: string, mib: number): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, mib * MIB);
  return path;
}

/** What guests/block/bulk.c makes of an image's first bytes, and whether they are the pattern that it writes. */
function check(image: string, mib: number, size: number): { checksum: number; isPattern: boolean } {
  const words = new Uint32Array(size / 4);
  const file = openSync(image, 'r');
  let sum = 0;
  let isPattern = true;
  for (let request = 0; request < (mib * MIB) / size; request++) {
    if (readSync(file, words) !== size) throw new Error(`${image} is too short`);
    const first = request * words.length;
    let hash = 0x811c_9dc5;
    for (let i = 0; i < words.length; i++) {
      const n = first + i;
      const word = words[i]!;
      if (word !== (Math.imul(n, 0x9e37_79b1) ^ (n >>> 15)) >>> 0) isPattern = false;
      hash = Math.imul(hash ^ word, 0x0100_0193);
    }
    sum = (sum + Math.imul(hash ^ (hash >>> 16), request + 1)) | 0;
  }
  closeSync(file);
  return { checksum: sum >>> 0, isPattern };
}

for (const transport of TRANSPORTS) {
  for (const engine of ENGINES) {
    test.serial(`1 GiB is written and read back, ${engine} on virtio-${transport}`, async (t) => {
      const image = sparseImage(`${engine}-${transport}.img`, 1024);
      const drive = { cache_type: 'Writeback' };
      const cmdline = 'mode=bulk mib=1024 size=131072 depth=16';
      const { code, stdout, stderr } = await runMvm(
        blockGuestArguments({ config, image, engine, transport, cmdline, drive }),
      );
      t.is(code, ExitCode.Ok, stderr);
      t.is(stderr, '');
      const { checksum, isPattern } = check(image, 1024, 131072);
      rmSync(image);
      t.true(isPattern);
      const hex = checksum.toString(16);
      t.is(/^wrote .* failed\r?$/m.exec(stdout)?.[0].trim(), `wrote ${hex}, read ${hex}, 0 requests failed`);
      t.regex(stdout, new RegExp(`^${transport}, kicks`, 'm'));
    });
  }

  test.serial(`small requests of odd sizes, with interrupts, on virtio-${transport}`, async (t) => {
    const image = sparseImage(`small-${transport}.img`, 4);
    for (const [engine, features] of [
      ['Sync', (1 << 28) | (1 << 29)],
      ['Async', 1 << 28],
      ['Async', 0],
    ] as const) {
      const cmdline = `mode=bulk mib=3 size=1536 depth=24 wait=irq features=${features}`;
      const { code, stdout, stderr } = await runMvm(blockGuestArguments({ config, image, engine, transport, cmdline }));
      t.is(code, ExitCode.Ok, stderr);
      const { checksum, isPattern } = check(image, 3, 1536);
      t.true(isPattern);
      const hex = checksum.toString(16);
      t.true(stdout.includes(`wrote ${hex}, read ${hex}, 0 requests failed`), stdout);
      t.notRegex(stdout, /sleeps 0|interrupts 0/);
      truncateSync(image, 0);
      truncateSync(image, 4 * MIB);
    }
  });
}

// A bucket begins full, so that much is free at first; the rest has to take as long as the limit says. The bucket holds what a second brings, so
// that a host that stops us for a moment takes nothing away.
const SECONDS = 3;
const ATTEMPTS = 3;
for (const [what, limit, size, count] of [
  ['10 MiB a second', { bandwidth: { size: 10 * MIB, refill_time: 1000 } }, 65536, (1 + SECONDS) * 160],
  ['1000 operations a second', { ops: { size: 1000, refill_time: 1000 } }, 4096, (1 + SECONDS) * 1000],
  [
    '20 MiB a second after a burst of 8 MiB',
    { bandwidth: { size: 20 * MIB, refill_time: 1000, one_time_burst: 8 * MIB } },
    131072,
    64 + (1 + SECONDS) * 160,
  ],
] as const) {
  for (const engine of ENGINES) {
    test.serial(`a drive limited to ${what} keeps within a tenth of it, ${engine}`, async (t) => {
      const image = sparseImage('limited.img', 96);
      const cmdline = `mode=bench op=write access=sequential size=${size} depth=4 count=${count}`;
      const args = blockGuestArguments({ config, image, engine, cmdline, drive: { rate_limiter: limit } });
      let took = Number.POSITIVE_INFINITY;
      // It must never be faster; slower it may be where the host is busy with something else.
      for (let attempt = 0; attempt < ATTEMPTS && took > SECONDS * 1.1; attempt++) {
        await using mvm = new Mvm(args);
        const start = await mvm.waitFor(/^start/m);
        const end = await mvm.waitFor(/^end/m);
        const { code, stdout, stderr } = await mvm.end();
        t.is(code, ExitCode.Ok, stderr);
        t.regex(stdout, new RegExp(`^operations=${count} failed=0 `, 'm'));
        took = (end - start) / 1000;
        t.true(took > SECONDS * 0.9, `${took} s instead of ${SECONDS}`);
      }
      t.true(took < SECONDS * 1.1, `${took} s instead of ${SECONDS}`);
    });
  }
}

// In a user and mount namespace of its own: no privileges needed, and nothing is left when it ends.
const SMALL_TMPFS = `
set -e
mount -t tmpfs -o size=4m none "$1"
truncate -s 16M "$1/disk.img"
shift
exec "$@"
`;

for (const engine of ENGINES) {
  test.serial(`no space on the host is an I/O error for the guest, which goes on, ${engine}`, (t) => {
    const tmpfs = mkdtempSync(join(folder, 'tmpfs-'));
    const cmdline = 'mode=fill mib=8 size=65536';
    const args = blockGuestArguments({ config, image: join(tmpfs, 'disk.img'), engine, cmdline });
    const { status, stdout, stderr } = spawnSync(
      'unshare',
      ['--user', '--map-root-user', '--mount', 'sh', '-c', SMALL_TMPFS, 'sh', tmpfs, EXECUTABLE, ...args],
      { encoding: 'utf8' },
    );
    t.is(status, ExitCode.Ok, stderr);
    const [, ok, failed] = /^wrote: (\d+) ok, (\d+) failed\r?$/m.exec(stdout) ?? [];
    t.is(Number(ok) + Number(failed), 128);
    // Of the 4 MiB some may go to the file system itself.
    t.true(Number(ok) >= 56 && Number(ok) <= 64, stdout);
    t.regex(stdout, /^read: 0, the same\r?$/m);
    t.regex(stdout, /^status f\r?$/m, 'the device needs no reset');
  });

  test.serial(`a file that may not grow is an I/O error for the guest, which goes on, ${engine}`, (t) => {
    const image = sparseImage('grows-not.img', 16);
    const cmdline = 'mode=fill mib=8 size=65536';
    const args = blockGuestArguments({ config, image, engine, cmdline });
    // RLIMIT_FSIZE, in units of 512 bytes: 2 MiB.
    const { status, stdout, stderr } = spawnSync('sh', ['-c', 'ulimit -f 4096; exec "$@"', 'sh', EXECUTABLE, ...args], {
      encoding: 'utf8',
    });
    t.is(status, ExitCode.Ok, stderr);
    t.regex(stdout, /^wrote: 32 ok, 96 failed\r?$/m);
    t.regex(stdout, /^read: 0, the same\r?$/m);
    t.regex(stdout, /^status f\r?$/m);
  });
}
