import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { VsockListener } from '../../devices/virtio/vsock/backend.ts';
import { NO_STREAM } from '../../devices/virtio/vsock/backend.ts';
import { MAX_CONNECTIONS } from '../../devices/virtio/vsock/constants.ts';
import {
  AF_UNIX,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SYS_accept4,
  SYS_bind,
  SYS_close,
  SYS_listen,
  SYS_socket,
} from '../../lib/ffi/constants.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { HostMemory } from '../../lib/memory/host-memory.ts';
import { HostSocket } from '../../lib/vsock/host-socket.ts';
import { UnixAddress } from '../../lib/vsock/unix-address.ts';
import { UnixStreams } from '../../lib/vsock/unix-streams.ts';
import { until } from '../helpers/virtio/vsock-host.ts';

const EMFILE = 24;

/** A host whose descriptors run out. */
class PoorSocket extends HostSocket {
  poor = false;
  refusals = 0;

  override accept(): number {
    if (!this.poor) return super.accept();
    this.refusals++;
    return -EMFILE;
  }
}

/** Writes down what it is told. */
class NotingListener implements VsockListener {
  readonly told: string[] = [];
  requested(stream: number, port: number): void {
    this.told.push(`requested ${stream} ${port}`);
  }
  opened(stream: number): void {
    this.told.push(`opened ${stream}`);
  }
  refused(stream: number): void {
    this.told.push(`refused ${stream}`);
  }
  readable(): void {}
  hungUp(): void {}
  forwarded(): void {}
  broken(): void {}
  failed(): void {}
  timeout(): void {
    this.told.push('timeout');
  }
  settle(): void {}
}

interface Fixture {
  readonly loop: EventLoop;
  readonly path: string;
  readonly socket: PoorSocket;
  readonly streams: UnixStreams;
  readonly listener: NotingListener;
}

async function withStreams(t: ExecutionContext, body: (fixture: Fixture) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-streams-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'v.sock');
  const loop = new EventLoop();
  const socket = new PoorSocket(loop.arena, path);
  const streams = new UnixStreams(loop, new HostMemory(1 << 20, 'None'), socket);
  const listener = new NotingListener();
  streams.listener = listener;
  streams.start();
  const running = loop.run();
  try {
    await body({ loop, path, socket, streams, listener });
  } finally {
    loop.stop();
    await running;
    streams.stop();
    socket.close();
    loop.close();
  }
}

/** Listens at a path, for no more than one that waits to be accepted. */
function listenForOne(loop: EventLoop, path: string): number {
  const { arena } = loop;
  const address = new UnixAddress();
  address.set(path);
  const fd = arena.invoke(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  arena.invoke(SYS_bind, fd, address.address, address.length);
  arena.invoke(SYS_listen, fd, 0);
  return fd;
}

test.serial('an application that is slow to accept is waited for, and not for ever', async (t) => {
  await withStreams(t, async ({ loop, path, streams, listener }) => {
    t.is(streams.connect(52), NO_STREAM, 'nobody is there');
    const fd = listenForOne(loop, `${path}_52`);
    const first = streams.connect(52);
    t.true(streams.isOpen(first));
    const second = streams.connect(52);
    const third = streams.connect(52);
    t.false(streams.isOpen(second) || streams.isOpen(third));
    await sleep(50);
    t.deepEqual(listener.told, []);
    loop.arena.invoke(SYS_accept4, fd, 0, 0, SOCK_CLOEXEC);
    await until(() => listener.told.length > 0);
    t.deepEqual(listener.told, [`opened ${second}`]);
    t.true(streams.isOpen(second));
    await until(() => listener.told.length > 1);
    t.deepEqual(listener.told.slice(1), [`refused ${third}`]);
    const fourth = streams.connect(52);
    streams.close(fourth);
    loop.arena.invoke(SYS_accept4, fd, 0, 0, SOCK_CLOEXEC);
    await sleep(50);
    t.is(listener.told.length, 2, 'of one that was closed nothing is told');
    loop.arena.invoke(SYS_close, fd);
    t.is(streams.connect(52), NO_STREAM, 'it is gone');
  });
});

test.serial('a port whose socket would have too long a path is nobody’s', async (t) => {
  await withStreams(t, async ({ loop }) => {
    const directory = mkdtempSync(join(tmpdir(), 'mvm-long-'));
    t.teardown(() => rmSync(directory, { recursive: true }));
    const path = join(directory, 'v'.repeat(107 - directory.length - 1));
    const socket = new HostSocket(loop.arena, path);
    const streams = new UnixStreams(loop, new HostMemory(1 << 20, 'None'), socket);
    t.is(streams.connect(52), NO_STREAM);
    socket.close();
  });
});

test.serial('where descriptors have run out, who connects waits, and the loop does not spin', async (t) => {
  await withStreams(t, async ({ path, socket, listener }) => {
    socket.poor = true;
    const client = connect(path);
    client.on('error', () => {});
    client.write('CONNECT 80\n');
    const started = performance.now();
    await until(() => socket.refusals === 3);
    t.true(performance.now() - started > 150, 'ten a second');
    socket.poor = false;
    await until(() => listener.told.length > 0);
    t.deepEqual(listener.told, ['requested 0 80']);
    client.destroy();
  });
});

test.serial('no more than there may be: others are closed at once', async (t) => {
  await withStreams(t, async ({ path, listener }) => {
    const clients: Socket[] = [];
    let closed = 0;
    for (let i = 0; i <= MAX_CONNECTIONS; i++) {
      const client = connect(path);
      client.on('error', () => {});
      client.on('close', () => closed++);
      client.resume();
      clients.push(client);
      if (i % 100 === 99) await sleep(1);
    }
    await until(() => closed > 0);
    t.is(closed, 1);
    clients[5]!.write('CONNECT 5\n');
    await until(() => listener.told.length > 0);
    clients[7]!.destroy();
    await until(() => closed === 2);
    const late = connect(path);
    late.on('error', () => {});
    late.write('CONNECT 6\n');
    await until(() => listener.told.length > 1);
    t.deepEqual(
      listener.told.map((line) => line.split(' ')[2]),
      ['5', '6'],
    );
    for (const client of [...clients, late]) client.destroy();
  });
});

test.serial('the timer counts from the last time that it was set', async (t) => {
  await withStreams(t, async ({ streams, listener }) => {
    streams.setTimer(20);
    streams.setTimer(1_000_000);
    await sleep(60);
    t.deepEqual(listener.told, []);
    streams.setTimer(1);
    await until(() => listener.told.length > 0);
    streams.setTimer(10);
    streams.stop();
    await sleep(50);
    t.deepEqual(listener.told, ['timeout']);
  });
});
