import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import test from 'ava';
import { guestCmdline, prepareGuest } from '../../fixtures/prepare.ts';
import { ExitCode } from '../../lib/errors.ts';
import { printedLines, sumOf } from '../helpers/guest-text.ts';
import { call, echoOnce } from '../helpers/linux/echo.ts';
import { line } from '../helpers/linux/guests.ts';
import { Mvm } from '../helpers/mvm.ts';
import { enterHostNetwork, HOST_ADDRESS, HOST_GATEWAY } from '../helpers/net-namespace.ts';

// A network for those without privileges: the machine runs as an ordinary user, with no capability.

const USER = ['unshare', '--user', '--map-user=1000', '--map-group=1000'] as const;
/**
 * Another user id than root's, that owns nothing: it may open /dev/kvm, and finds the kernel, the initramfs and mvm in /mnt, all in a mount
 * namespace that goes with it.
 */
const NOBODY = `
set -e
mount -t tmpfs -o mode=755 tmpfs /mnt
for name in kernel initrd mvm; do
  : > "/mnt/$name"
  mount --bind "$1" "/mnt/$name"
  shift
done
mknod -m 666 /mnt/kvm c 10 232
mount --bind /mnt/kvm /dev/kvm
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all /mnt/mvm "$@"
`;
const FORWARDED = 7003;

const guest = await prepareGuest();

test.before(() => enterHostNetwork());

/** Processes in our network namespace that are a passt. */
function passts(): number[] {
  const network = readlinkSync('/proc/self/ns/net');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('passt') &&
          readlinkSync(`/proc/${pid}/ns/net`) === network
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}

test.serial('where passt goes away, the guest lives on', async (t) => {
  const cmdline = guestCmdline({ actions: ['echo', 'poweroff'], extra: ['ip=dhcp'] });
  const machine = ['--kernel', guest.kernel, '--initrd', guest.initrd, '--cmdline', cmdline];
  await using mvm = new Mvm(['run', ...machine, '--net', 'user']);
  await mvm.waitFor(/^type a line/m);
  const [passt, ...others] = passts();
  t.deepEqual(others, []);
  process.kill(passt!);
  while (passts().length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  mvm.type('hello\n');
  const { code, stdout, stderr } = await mvm.end();
  t.is(code, ExitCode.Ok, stderr);
  t.regex(stdout, /^echo: hello/m);
  t.is(
    stderr,
    'mvm: warning: the network of network interface "eth0" is gone, its link is down: it has closed the connection\n',
  );
});

test.serial('a guest has an address by DHCP, reaches the host, and is reached through a forwarded port', async (t) => {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end('hello from the host\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const actions = ['mount=proc:proc:/proc', 'address', `get=gateway:${port}:/page`, 'serve=80:hello', 'poweroff'];
  const cmdline = guestCmdline({ console: 'hvc0', actions, extra: ['ip=dhcp'] });
  const machine = ['--kernel', guest.kernel, '--initrd', guest.initrd, '--cmdline', cmdline, '--console', 'virtio'];
  await using mvm = new Mvm(['run', ...machine, '--net', `user,tcp=${FORWARDED}:80`], USER);
  await mvm.waitFor(/^serving at port 80/m);
  const client = connect(FORWARDED, '127.0.0.1');
  // Debian 12's passt does not tell the guest that a connection is there before the client says something.
  client.write('hello?\n');
  t.is(await text(client), 'hello\n');
  const { code, stdout, stderr } = await mvm.end();
  t.is(code, ExitCode.Ok, stderr);
  t.is(stderr, '');
  const lines = stdout.split('\n').map((line) => line.trimEnd());
  t.true(lines.includes(`eth0: ${HOST_ADDRESS}/24, gateway ${HOST_GATEWAY}`), stdout);
  t.true(lines.includes('gateway says: HTTP/1.1 200 OK'), stdout);
  t.true(lines.includes('hello from the host'), stdout);
  t.deepEqual(asked, ['GET /page']);
});

test.serial('TCP each way as another user, every byte as it was sent', async (t) => {
  const port = 7004;
  const fromGuest = await echoOnce({ host: '127.0.0.1', port });
  const actions = ['mount=proc:proc:/proc', `connect=tcp:gateway:${port}:128`, 'listen=tcp:80', 'poweroff'];
  const cmdline = guestCmdline({ actions, extra: ['ip=dhcp'] });
  const machine = ['--kernel', '/mnt/kernel', '--initrd', '/mnt/initrd', '--cmdline', cmdline];
  const prefix = ['unshare', '--mount', 'sh', '-c', NOBODY, 'sh', guest.kernel, guest.initrd];
  await using mvm = new Mvm(['run', ...machine, '--net', `user,tcp=${FORWARDED}:80`], prefix);
  await mvm.waitFor(/^listening/m);
  t.regex(readFileSync(`/proc/${mvm.process.pid}/status`, 'latin1'), /^Uid:\t65534\t65534\t65534\t65534$/m);
  const echoed = await call({ host: '127.0.0.1', port: FORWARDED }, printedLines(128));
  const { code, stdout, stderr } = await mvm.end();
  t.is(code, ExitCode.Ok, stderr);
  t.is(stderr, '');
  t.is(sumOf('sent', await fromGuest.came), sumOf('sent', printedLines(128)));
  t.regex(stdout, line(sumOf('sent', printedLines(128))));
  t.is(sumOf('echoed', echoed), sumOf('echoed', printedLines(128)));
  t.regex(stdout, line(sumOf('echoed', printedLines(128))));
});
