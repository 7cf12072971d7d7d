import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import test from 'ava';
import { guestCmdline, prepareGuest } from '../../fixtures/prepare.ts';
import { ExitCode } from '../../lib/errors.ts';
import { Mvm } from '../helpers/mvm.ts';
import { enterHostNetwork, HOST_ADDRESS, HOST_GATEWAY } from '../helpers/net-namespace.ts';

// A network for those without privileges: the machine runs as an ordinary user, with no capability.

const USER = ['unshare', '--user', '--map-user=1000', '--map-group=1000'] as const;
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
