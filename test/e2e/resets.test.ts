import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import type { Transport } from '../../lib/config/types.ts';
import { EXECUTABLE } from '../helpers/mvm.ts';

// Drivers that leave without a word, as those of a kernel that hands over to the next (kexec), or crashes: see fixtures/bare-metal/guests/resets.c.

const TRANSPORTS: readonly Transport[] = ['mmio', 'pci'];
const LIVES = 20;

const folder = mkdtempSync(join(tmpdir(), 'mvm-resets-'));
test.after.always(() => rmSync(folder, { recursive: true }));

/** A disk of 32 MiB whose sectors hold their numbers, 64 times each. */
const disk = join(folder, 'disk.img');
writeFileSync(
  disk,
  Uint32Array.from({ length: (32 << 20) / 4 }, (_, i) => (i % 2 === 0 ? i >> 7 : 0)),
);

/** Keeps a file out of the page cache, so that reads of it take their time. */
const EVICT = `
import os, sys, time
file = os.open(sys.argv[1], os.O_RDONLY)
os.fsync(file)
parent = os.getppid()
while os.getppid() == parent:
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    time.sleep(0.0002)
`;

/** With frames that come all the time, in namespaces of which nothing is left. */
const IN_NAMESPACES = [
  ...['--user', '--map-root-user', '--net', 'sh', '-c'],
  `set -e
  ip tuntap add dev tap0 mode tap vnet_hdr
  ip address add 10.9.0.1/24 dev tap0
  ip link set tap0 up
  ping -q -b -i 0.002 -w 100 10.9.0.255 >/dev/null 2>&1 &
  ping=$!
  python3 -c "$1" "$2" &
  trap "kill $ping $!" EXIT TERM
  shift 2
  "$@"`,
  'sh',
  EVICT,
  disk,
];

for (const transport of TRANSPORTS) {
  test.serial(`${transport}: devices touch nothing of a driver that is gone, and serve the next`, async (t) => {
    t.timeout(120_000);
    const path = join(folder, 'vm.json');
    const drive = (io_engine: string) => {
      return { drive_id: io_engine, path_on_host: disk, is_root_device: false, is_read_only: true, io_engine };
    };
    const config = {
      'boot-source': { kernel_image_path: buildGuest('resets'), boot_args: `lives=${LIVES}` },
      'machine-config': { mem_size_mib: 512, transport },
      drives: [drive('Sync'), drive('Async')],
      'network-interfaces': [{ iface_id: 'net0', host_dev_name: 'tap0' }],
      vsock: { guest_cid: 3, uds_path: join(folder, `${transport}.sock`) },
      balloon: { amount_mib: 0, deflate_on_oom: true },
      entropy: {},
      console: { console_out_path: join(folder, 'console.log') },
    };
    writeFileSync(path, JSON.stringify(config));
    const { stdout, stderr } = await promisify(execFile)('unshare', [...IN_NAMESPACES, EXECUTABLE, 'run', path], {
      timeout: 100_000,
    });
    const names = ['balloon', 'block', 'block', 'console', 'entropy', 'net', 'vsock'];
    const expected = names.map((name) => `${transport} ${name} works after ${LIVES + 1} lives`);
    t.deepEqual(stdout.trim().split(/\r?\n/).sort(), expected);
    t.is(stderr, '', 'no driver was at fault');
  });
}
