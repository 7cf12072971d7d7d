import { execFile } from 'node:child_process';
import { chownSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { guestCmdline } from '../../fixtures/prepare.ts';
import { ExitCode } from '../../lib/errors.ts';
import { adler32, printedLines, sumOf } from '../helpers/guest-text.ts';
import { asUser, copyTo, folderFor, Jailed, USER } from '../helpers/jail.ts';
import { call } from '../helpers/linux/echo.ts';
import { LinuxGuests, line } from '../helpers/linux/guests.ts';
import { ext4Image, fileIn } from '../helpers/linux/images.ts';
import type { Seen } from '../helpers/linux/jailed-peer.ts';
import { enterHostNetwork, HOST_ADDRESS, HOST_GATEWAY } from '../helpers/net-namespace.ts';

// Every device works in a jail, in the executable that users get.

const PEER = 'test/helpers/linux/jailed-peer.ts';
const SOCKET = '/run/vm/v.sock';

const guests = new LinuxGuests();
test.after.always(() => guests.remove());

// passt gives the guest what the host has: an address, and a route.
test.before(() => enterHostNetwork());

const drive = (id: string, path: string, engine: string) => {
  const more = { is_root_device: false, is_read_only: false, cache_type: 'Writeback', io_engine: engine };
  return { drive_id: id, path_on_host: path, ...more };
};
const fileOn = (device: string, folder: string) => [
  ...[`mount=ext4:/dev/${device}:${folder}`, `write=${folder}/data:16`, `sum=${folder}/data`, `umount=${folder}`],
];

for (const transport of ['mmio', 'pci'] as const) {
  test.serial(`${transport}: drives, network, vsock, entropy, balloon and console, made by root`, async (t) => {
    const base = folderFor(t);
    const images = [guests.file(`${transport}-a.img`), guests.file(`${transport}-b.img`)] as const;
    for (const image of images) ext4Image(image);
    const config = await guests.configure({
      transport,
      parameters: ['ip=10.9.0.2::10.9.0.1:255.255.255.0::eth0:off'],
      actions: [
        ...['echo', 'mount=devtmpfs:none:/dev'],
        ...[...fileOn('vda', '/a'), ...fileOn('vdb', '/b')],
        ...['random=/dev/hwrng', 'connect=vsock:2:7000:64', 'listen=vsock:7001', 'free', 'poweroff'],
      ],
      sections: {
        drives: [drive('a', images[0], 'Sync'), drive('b', images[1], 'Async')],
        'network-interfaces': [{ iface_id: 'eth0', host_dev_name: 'tap0', guest_mac: '06:00:0a:09:00:02' }],
        vsock: { guest_cid: 3, uds_path: SOCKET },
        entropy: {},
        balloon: { amount_mib: 32, deflate_on_oom: false },
      },
    });
    const { stdout } = await promisify(execFile)('unshare', ['--net', process.execPath, PEER, config, base, SOCKET], {
      timeout: 150_000,
    });
    const seen = JSON.parse(stdout) as Seen;
    t.is(seen.stderr, '');
    t.is(seen.code, ExitCode.Ok);
    t.regex(seen.stdout, line('echo: hello, jail'));
    t.deepEqual(seen.namespaces, ['cgroup', 'ipc', 'mnt', 'pid', 'uts'], 'the network namespace is that of the peer');
    t.deepEqual(seen.root, ['./mvm.pid', './run', './run/vm', `.${SOCKET}`, `.${SOCKET}_7000`]);
    t.is(seen.ownersOfSocket, '65534:65534');
    t.false(seen.descriptors.includes('directory'));
    for (const image of images) t.is(adler32(fileIn(image, 'data')), adler32(printedLines(16)));
    t.regex(seen.stdout, line(sumOf('/a/data', printedLines(16))));
    t.regex(seen.stdout, line(sumOf('/b/data', printedLines(16))));
    t.regex(seen.stdout, /^random: [0-9a-f]{32}\r?$/m);
    t.is(seen.called, sumOf('sent', printedLines(64)));
    t.regex(seen.stdout, line(seen.called));
    t.is(seen.served, sumOf('echoed', printedLines(64)));
    t.regex(seen.pings, /^3 packets transmitted, 3 received, 0% packet loss/m);
    t.false(seen.isLeft);
  });
}

test.serial('drives, a user-mode network, vsock, entropy and console, for an ordinary user', async (t) => {
  const folder = folderFor(t, USER);
  const { kernel, initrd } = await LinuxGuests.guest;
  const image = join(folder, 'disk.img');
  ext4Image(image);
  chownSync(image, USER.uid, USER.gid);
  const [kernel_image_path, initrd_path] = copyTo(folder, kernel, initrd);
  const actions = [
    ...['mount=devtmpfs:none:/dev', ...fileOn('vda', '/a'), 'random=/dev/hwrng', 'listen=vsock:7001'],
    ...['mount=proc:proc:/proc', 'address', 'echo', 'poweroff'],
  ];
  const boot_args = guestCmdline({ actions, extra: ['ip=dhcp'] });
  const config = {
    'boot-source': { kernel_image_path, initrd_path, boot_args },
    drives: [drive('a', image, 'Async')],
    'network-interfaces': [{ iface_id: 'eth0', passt: {} }],
    vsock: { guest_cid: 3, uds_path: 'v.sock' },
    entropy: {},
  };
  const path = join(folder, 'vm.json');
  writeFileSync(path, JSON.stringify(config));
  await using jailed = new Jailed(join(folder, 'jailer'), 'one', [path], asUser(folder));
  await jailed.waitFor(/^listening\r?$/m);
  // A relative path begins where the configuration is, in the jail too.
  const answer = await call({ path: join(jailed.root, folder, 'v.sock') }, printedLines(64), 'CONNECT 7001\n');
  t.is(sumOf('answer', answer.subarray(answer.indexOf('\n') + 1)), sumOf('answer', printedLines(64)));
  await jailed.waitFor(/^type a line/m);
  jailed.type('hello, jail\n');
  const { code, stdout, stderr } = await jailed.end();
  t.is(code, ExitCode.Ok, stderr);
  t.is(stderr, '');
  t.is(adler32(fileIn(image, 'data')), adler32(printedLines(16)));
  t.regex(stdout, /^random: [0-9a-f]{32}\r?$/m);
  t.regex(stdout, line(`eth0: ${HOST_ADDRESS}/24, gateway ${HOST_GATEWAY}`));
  t.regex(stdout, line('echo: hello, jail'));
  t.false(existsSync(join(folder, 'jailer')));
});
