import { execFile } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import test from 'ava';
import { ConfigError, HostError } from '../../lib/errors.ts';
import { call } from '../../lib/ffi/libc.ts';
import { startPasst } from '../../lib/net/passt.ts';
import { enterHostNetwork, HOST_ADDRESS, HOST_GATEWAY } from '../helpers/net-namespace.ts';

const NOBODY = 65_534;
const HOST_PORT = 7001;
const FORWARDED = 7002;

test.before(() => enterHostNetwork());

test.serial('without privileges, a guest reaches the host, and the host a forwarded port', async (t) => {
  const host: Socket = createSocket('udp4');
  const seen: string[] = [];
  host.on('message', (message, { port }) => {
    const text = message.toString();
    if (!seen.includes(text)) seen.push(text);
    // Told that we are here, we ask in turn; told the answer, we say that this was all.
    if (text === 'hello') host.send('question', FORWARDED, '127.0.0.1');
    if (text === 'answer' || seen.includes('answer'))
      host.send('done', text === 'answer' ? FORWARDED : port, '127.0.0.1');
  });
  host.bind(HOST_PORT, '127.0.0.1');
  await once(host, 'listening');
  const program = ['--reuid', NOBODY, '--regid', NOBODY, '--clear-groups', process.execPath];
  const args = [...program, 'test/helpers/passt-guest.ts', HOST_ADDRESS, HOST_GATEWAY, HOST_PORT, FORWARDED].map(
    String,
  );
  const { stdout } = await promisify(execFile)('setpriv', args, { timeout: 60_000 });
  host.close();
  t.deepEqual(JSON.parse(stdout), { uid: NOBODY, seen: ['question', 'done'], warnings: [] });
  t.deepEqual(seen, ['hello', 'answer']);
});

test.serial('where there is no passt, the user is told', (t) => {
  const path = process.env.PATH;
  process.env.PATH = '/nowhere';
  try {
    const error = t.throws(() => startPasst({ tcpPorts: [], udpPorts: [] }, '/x'), { instanceOf: HostError });
    t.is(
      error.toLine(),
      '/x: passt is not installed; install it (Debian: sudo apt install passt), or use a tap (host_dev_name)',
    );
  } finally {
    process.env.PATH = path;
  }
});

test.serial('a passt that cannot start is an error, with what it says', async (t) => {
  const start = (tcpPorts: string[]) => startPasst({ tcpPorts, udpPorts: [] }, '/x');
  const first = start([`${FORWARDED}:80`]);
  await t.notThrowsAsync(first.ready());
  const error = await t.throwsAsync(start([`${FORWARDED}:80`]).ready(), { instanceOf: HostError });
  t.regex(error.toLine(), new RegExp(`^/x: passt does not start: .*${FORWARDED}:80`));
  for (const ports of ['70000', 'none such']) {
    await t.throwsAsync(start([ports]).ready(), {
      instanceOf: ConfigError,
      message: new RegExp(`^passt does not start: .*${ports}`),
    });
  }
  call('close', 'close a socket', first.fd);
});

test.serial('a passt of our own listens when it is ready, and ends when our end of its socket is closed', async (t) => {
  const { fd, ready } = startPasst({ tcpPorts: [`${FORWARDED + 1}:80`], udpPorts: [] }, '/x');
  await ready();
  t.true(await listens(FORWARDED + 1));
  call('close', 'close a socket', fd);
  for (let i = 0; i < 500 && (await listens(FORWARDED + 1)); i++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  t.false(await listens(FORWARDED + 1));
});

/** Whether something accepts connections. */
async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
