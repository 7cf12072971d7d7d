import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ConfigError } from '../../lib/errors.ts';
import {
  AF_UNIX,
  EADDRINUSE,
  EAGAIN,
  EPIPE,
  EPOLLRDHUP,
  MSG_PEEK,
  SHUT_RD,
  SHUT_WR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SYS_accept4,
  SYS_bind,
  SYS_close,
  SYS_connect,
  SYS_listen,
  SYS_readv,
  SYS_recvfrom,
  SYS_shutdown,
  SYS_socket,
  SYS_writev,
} from '../../lib/ffi/constants.ts';
import { NativeArena } from '../../lib/loop/arena.ts';
import { HostSocket } from '../../lib/vsock/host-socket.ts';
import { MAX_UNIX_PATH } from '../../lib/vsock/unix-address.ts';
import { compareWithC } from '../helpers/c-layout.ts';

const arena = new NativeArena();

function directory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'mvm-socket-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

test('numbers are those of Linux', (t) => {
  const numbers: Record<string, number> = {
    AF_UNIX,
    EADDRINUSE,
    EPIPE,
    EPOLLRDHUP,
    MSG_PEEK,
    SHUT_RD,
    SHUT_WR,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SYS_accept4,
    SYS_bind,
    SYS_close,
    SYS_connect,
    SYS_listen,
    SYS_readv,
    SYS_recvfrom,
    SYS_shutdown,
    SYS_socket,
    SYS_writev,
  };
  numbers['sizeof(((struct sockaddr_un *)0)->sun_path) - 1'] = MAX_UNIX_PATH;
  compareWithC(t, {
    define: ['_GNU_SOURCE'],
    headers: ['sys/socket.h', 'sys/un.h', 'sys/epoll.h', 'sys/syscall.h', 'errno.h'],
    constants: numbers,
  });
});

test('the socket’s file is there from the start, and removed at the end', async (t) => {
  const path = join(directory(t), 'v.sock');
  const socket = new HostSocket(arena, path);
  t.true(statSync(path).isSocket());
  t.is(socket.accept(), -EAGAIN);
  const client = connect(path);
  await new Promise((resolve) => client.once('connect', resolve));
  const fd = socket.accept();
  t.true(fd > 0);
  arena.invoke(SYS_close, fd);
  client.destroy();
  socket.close();
  t.false(existsSync(path));
  socket.close();
});

test('a file that is there already is left alone, and told of', (t) => {
  const path = join(directory(t), 'v.sock');
  const first = new HostSocket(arena, path);
  const error = t.throws(() => new HostSocket(arena, path), { instanceOf: ConfigError });
  t.is(
    error?.toLine(),
    `/vsock/uds_path: ${path} exists already; remove it if no other virtual machine uses it, or give another path`,
  );
  t.true(existsSync(path));
  first.close();
  writeFileSync(path, 'something');
  t.throws(() => new HostSocket(arena, path), { instanceOf: ConfigError, message: /exists already/ });
  new HostSocket(arena, join(directory(t), 'v.sock')).close();
});

test('a file that has taken its place is not removed', (t) => {
  const path = join(directory(t), 'v.sock');
  const socket = new HostSocket(arena, path);
  rmSync(path);
  const other = new HostSocket(arena, path);
  socket.close();
  t.true(existsSync(path));
  other.close();
  t.false(existsSync(path));
});

test('paths where no socket can be', (t) => {
  const base = directory(t);
  const missing = t.throws(() => new HostSocket(arena, join(base, 'missing', 'v.sock')), { instanceOf: ConfigError });
  t.is(
    missing?.toLine(),
    `/vsock/uds_path: cannot create the socket ${base}/missing/v.sock (ENOENT); give a path in a directory that mvm may write`,
  );
  const long = join(base, 'x'.repeat(MAX_UNIX_PATH));
  const error = t.throws(() => new HostSocket(arena, long), { instanceOf: ConfigError });
  t.is(error?.toLine(), `/vsock/uds_path: ${long} is longer than 107 bytes; give a shorter path`);
});

test('a long path is used as it looks from here', (t) => {
  const base = directory(t);
  const deep = join(base, 'd'.repeat(100), 'e'.repeat(100));
  mkdirSync(deep, { recursive: true });
  const before = process.cwd();
  process.chdir(deep);
  t.teardown(() => process.chdir(before));
  const path = join(deep, 'v.sock');
  t.true(path.length > MAX_UNIX_PATH);
  const socket = new HostSocket(arena, path);
  t.true(statSync(path).isSocket());
  socket.close();
  t.false(existsSync(path));
  symlinkSync('nowhere', path);
  t.throws(() => new HostSocket(arena, path), { instanceOf: ConfigError, message: /exists already/ });
});
