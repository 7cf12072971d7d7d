import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'ava';
import { guestCmdline, prepareGuest } from '../../fixtures/prepare.ts';
import type { Transport } from '../../lib/config/types.ts';
import { ExitCode } from '../../lib/errors.ts';
import { MIB } from '../../lib/memory/layout.ts';
import { adler32, printedLines } from '../helpers/guest-text.ts';
import { EXECUTABLE, Mvm, type MvmResult, runMvm } from '../helpers/mvm.ts';

// Virtio devices as Linux's drivers use them, configured by Firecracker's keys.

const TRANSPORTS: readonly Transport[] = ['mmio', 'pci'];

const guest = await prepareGuest();
const folder = mkdtempSync(join(tmpdir(), 'mvm-virtio-'));
test.after.always(() => rmSync(folder, { recursive: true }));

/** An image with an empty ext4. */
function ext4Image(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, 8 * MIB);
  execFileSync('mkfs.ext4', ['-q', '-F', path]);
  return path;
}

/** A file in an image, after the journal that the guest left behind was replayed. */
function fileIn(image: string, file: string): Buffer {
  try {
    execFileSync('e2fsck', ['-p', image], { stdio: 'ignore' });
  } catch (error) {
    // 1: it corrected something, as replaying a journal counts.
    if ((error as { status: number }).status !== 1) throw error;
  }
  return execFileSync('debugfs', ['-R', `cat ${file}`, image], { stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Writes a configuration with this guest. @returns its path */
function configure(
  actions: readonly string[],
  sections: Record<string, unknown>,
  transport: Transport = 'mmio',
): string {
  const config = {
    'boot-source': {
      kernel_image_path: guest.kernel,
      initrd_path: guest.initrd,
      boot_args: guestCmdline({ actions, pci: transport === 'pci' }),
    },
    'machine-config': { vcpu_count: 1, mem_size_mib: 128, transport },
    ...sections,
  };
  const path = join(folder, 'vm.json');
  writeFileSync(path, JSON.stringify(config));
  return path;
}

function boot(
  actions: readonly string[],
  sections: Record<string, unknown>,
  transport?: Transport,
): Promise<MvmResult> {
  return runMvm(['run', configure(actions, sections, transport)]);
}

const drive = (id: string, path: string, more: Record<string, unknown> = {}) => {
  return { drive_id: id, path_on_host: path, is_root_device: false, is_read_only: false, ...more };
};

for (const transport of TRANSPORTS) {
  test.serial(
    `${transport}: ext4 on drives with each engine: what the guest writes it reads, and finds in the image`,
    async (t) => {
      const images = { Sync: ext4Image('sync.img'), Async: ext4Image('async.img') };
      const { code, stdout, stderr } = await boot(
        [
          'mount=devtmpfs:none:/dev',
          'mount=ext4:/dev/vda:/sync',
          'mount=ext4:/dev/vdb:/async',
          'write=/sync/data:256',
          'write=/async/data:192',
          'sum=/sync/data',
          'sum=/async/data',
          'poweroff',
        ],
        {
          drives: Object.entries(images).map(([io_engine, path]) =>
            drive(io_engine, path, { io_engine, cache_type: 'Writeback' }),
          ),
        },
        transport,
      );
      t.is(code, ExitCode.Ok, stderr);
      t.is(stderr, '');
      for (const [mount, data] of [
        ['sync', printedLines(256)],
        ['async', printedLines(192)],
      ] as const) {
        t.regex(stdout, new RegExp(`^/${mount}/data: ${data.length} bytes, Adler-32 ${adler32(data)}\r?$`, 'm'));
        t.deepEqual(fileIn(images[mount === 'sync' ? 'Sync' : 'Async'], 'data'), data);
      }
    },
  );
}

test.serial('two drives, one of them read-only, and random bytes', async (t) => {
  const first = ext4Image('first.img');
  const second = join(folder, 'second.img');
  const content = printedLines(64);
  writeFileSync(second, content);
  const { code, stdout, stderr } = await boot(
    [
      'mount=devtmpfs:none:/dev',
      'sum=/dev/vdb',
      'write=/dev/vdb:4',
      'random=/dev/hwrng',
      'random=/dev/hwrng',
      'poweroff',
    ],
    { drives: [drive('first', first), drive('second', second, { is_read_only: true })], entropy: {} },
  );
  t.is(code, ExitCode.Ok, stderr);
  t.regex(stdout, new RegExp(`^/dev/vdb: ${content.length} bytes, Adler-32 ${adler32(content)}\r?$`, 'm'));
  t.regex(stdout, /^init: cannot write \/dev\/vdb: error \d+\r?$/m);
  const [one, other] = [...stdout.matchAll(/^random: ([0-9a-f]{32})\r?$/gm)].map(([, hex]) => hex);
  t.truthy(one);
  t.truthy(other);
  t.not(one, other);
});

test.serial('an image that another machine writes is refused', async (t) => {
  const image = ext4Image('shared.img');
  const sections = { drives: [drive('data', image)] };
  const [first, second] = await Promise.all([
    boot(['poweroff'], sections),
    new Promise((resolve) => setTimeout(resolve, 1000)).then(() => boot(['poweroff'], sections)),
  ]);
  t.is(first.code, ExitCode.Ok, first.stderr);
  t.not(second.code, ExitCode.Ok);
  t.regex(second.stderr, /^mvm: .*shared\.img.*\n$/);
});

// A user and network namespace of its own: no privileges needed, and nothing is left when it ends.
const PING = `
set -e
ip tuntap add dev tap0 mode tap vnet_hdr
ip address add 10.9.0.1/24 dev tap0
ip link set tap0 up
"$1" run "$2" &
mvm=$!
trap 'kill -TERM $mvm; wait $mvm || echo "mvm ended with $?"' EXIT
tries=0
until ping -c 1 -W 1 10.9.0.2 >/dev/null; do
  tries=$((tries + 1))
  [ $tries -lt 120 ]
done
ping -c 3 -s 1400 -W 5 10.9.0.2
`;

test.serial('a guest with a network interface on a tap answers pings', (t) => {
  const path = join(folder, 'net.json');
  const boot_args = guestCmdline({ actions: ['idle'], extra: ['ip=10.9.0.2::10.9.0.1:255.255.255.0::eth0:off'] });
  const config = {
    'boot-source': { kernel_image_path: guest.kernel, initrd_path: guest.initrd, boot_args },
    'network-interfaces': [{ iface_id: 'eth0', host_dev_name: 'tap0', guest_mac: '06:00:0a:09:00:02' }],
  };
  writeFileSync(path, JSON.stringify(config));
  const args = ['--user', '--map-root-user', '--net', 'sh', '-c', PING, 'sh', EXECUTABLE, path];
  const { stdout, stderr } = spawnSync('unshare', args, { encoding: 'utf8' });
  t.regex(stdout, /^3 packets transmitted, 3 received, 0% packet loss/m, stderr);
  t.regex(stdout, /^mvm ended with 143$/m, stderr);
});

test.serial(
  'the vsock socket is there while the guest runs; a port that nobody listens at is refused by the guest',
  async (t) => {
    const path = join(folder, 'vsock.json');
    const socket = join(folder, 'v.sock');
    const config = {
      'boot-source': {
        kernel_image_path: guest.kernel,
        initrd_path: guest.initrd,
        boot_args: guestCmdline({ actions: ['idle'] }),
      },
      vsock: { guest_cid: 3, uds_path: socket },
    };
    writeFileSync(path, JSON.stringify(config));
    await using mvm = new Mvm(['run', path]);
    await mvm.waitFor(/^CPUs: 1/m);
    const client = connect(socket);
    client.write('CONNECT 1234\n');
    const answer = await text(client);
    t.is(answer, '', 'the guest resets the connection, so the host closes without OK');
    mvm.process.kill('SIGTERM');
    const { code, stderr } = await mvm.end();
    t.is(code, 143);
    t.is(stderr, '');
    t.false(existsSync(socket), 'its file is removed');
  },
);
