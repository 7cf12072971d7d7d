import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ConfigError } from '../../lib/errors.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { connectStream } from '../../lib/net/passt.ts';
import { StreamBackend } from '../../lib/net/stream.ts';
import { NetGuest, runUntil } from '../helpers/virtio/net-guest.ts';

const loop = new EventLoop();

function frame(number: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (number * 13 + i * 7 + (i >> 8)) & 0xff);
}

/** Frames as they are on the stream. */
function framed(...frames: Uint8Array[]): Buffer {
  return Buffer.concat(
    frames.flatMap((bytes) => {
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32BE(bytes.length);
      return [prefix, bytes];
    }),
  );
}

interface Ends {
  readonly guest: NetGuest;
  readonly backend: StreamBackend;
  readonly peer: Socket;
  /** What has come to the peer. */
  readonly came: Buffer[];
  readonly warnings: string[];
}

async function connected(
  t: ExecutionContext,
  options: ConstructorParameters<typeof NetGuest>[1] = {},
  mac?: Uint8Array,
): Promise<Ends> {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-net-'));
  const path = join(directory, 'socket');
  const server: Server = createServer();
  server.listen(path);
  await once(server, 'listening');
  const warnings: string[] = [];
  let backend: StreamBackend | undefined;
  const guest = new NetGuest((_, memory) => {
    const fd = connectStream(path, '/network-interfaces/0');
    backend = new StreamBackend(loop, memory, fd, { name: 'it', mac, warn: (line) => warnings.push(line) });
    return backend;
  }, options);
  const [peer] = (await once(server, 'connection')) as [Socket];
  const came: Buffer[] = [];
  peer.on('data', (chunk: Buffer) => came.push(chunk));
  peer.on('error', () => {});
  t.teardown(() => {
    backend?.close();
    peer.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  });
  return { guest, backend: backend as StreamBackend, peer, came, warnings };
}

test.serial('frames of all lengths go each way, whatever pieces the stream is cut into', async (t) => {
  const { guest, peer, came } = await connected(t, { bufferLength: 1000 });
  const frames = [14, 60, 988, 989, 1514, 9000, 65_550, 61].map((length, i) => frame(i, length));
  for (const bytes of frames) guest.driver.send(bytes, undefined, 12, 30);
  const stream = framed(...frames);
  let at = 0;
  const feed = setInterval(() => {
    // Through lengths and frames alike.
    const cut = at < 200 ? 3 : 7001;
    if (at < stream.length) peer.write(stream.subarray(at, at + cut));
    at += cut;
  }, 0);
  t.teardown(() => clearInterval(feed));
  const size = () => came.reduce((sum, { length }) => sum + length, 0);
  await runUntil(loop, [guest], () => guest.frames.length === frames.length && size() === stream.length);
  t.deepEqual(guest.frames, frames);
  t.deepEqual(Buffer.concat(came), stream);
});

test.serial('nothing is lost or doubled where the other end does not take it', async (t) => {
  const { guest, peer, came } = await connected(t);
  peer.pause();
  const frames = Array.from({ length: 600 }, (_, i) => frame(i, 14 + ((i * 677) % 3000)));
  const expected = framed(...frames);
  let sent = 0;
  let paused = true;
  const step = (): void => {
    while (sent < frames.length && guest.driver.ring(1).freeDescriptors > 1) {
      guest.driver.send(frames[sent++]!, undefined, 12);
    }
    if (paused && guest.device.metrics.tx_remaining_reqs_count > 0) {
      paused = false;
      peer.resume();
    }
  };
  const size = () => came.reduce((sum, { length }) => sum + length, 0);
  await runUntil(loop, [guest], () => size() === expected.length, step);
  t.true(Buffer.concat(came).equals(expected));
  t.is(guest.device.metrics.tx_packets_count, frames.length);
});

test.serial('a batch is read with at most two foreign calls, and written with one', async (t) => {
  const { guest, peer } = await connected(t);
  const { metrics } = guest.device;
  const { batch } = loop.arena;
  peer.write(framed(...Array.from({ length: 256 }, (_, i) => frame(i, 100))));
  await runUntil(loop, [guest], () => guest.frames.length === 256);
  t.true(loop.arena.batch - batch <= 2 * metrics.rx_tap_event_count);
  t.true(metrics.rx_tap_event_count < 40, `${metrics.rx_tap_event_count} batches`);
  for (let i = 0; i < 32; i++) guest.driver.send(frame(i, 100));
  const before = loop.arena.batch;
  guest.driver.core.poll();
  t.is(loop.arena.batch - before, 1);
});

test.serial('an end that goes away takes the link down, after what it sent; the device lives on', async (t) => {
  const { guest, peer, warnings } = await connected(t);
  const { registers } = guest.driver;
  t.is(registers.readConfig(6, 2), 1);
  peer.end(framed(frame(1, 60), frame(2, 61)));
  peer.destroySoon();
  await runUntil(loop, [guest], () => registers.readConfig(6, 2) === 0);
  t.deepEqual(guest.frames, [frame(1, 60), frame(2, 61)]);
  t.deepEqual(warnings, ['the network of it is gone, its link is down: it has closed the connection']);
  t.true(registers.takeInterrupts().config);
  guest.driver.send(frame(3, 60));
  guest.poll();
  t.is(guest.device.metrics.tx_fails, 1);
  guest.driver.start();
  t.is(registers.readConfig(6, 2), 0);
});

for (const length of [0, 65_551, 0xffff_ffff]) {
  test.serial(`a frame of ${length} bytes is the end of the network`, async (t) => {
    const { guest, peer, warnings } = await connected(t);
    const prefix = Buffer.alloc(64);
    prefix.writeUInt32BE(length);
    peer.write(Buffer.concat([framed(frame(1, 60)), prefix]));
    await runUntil(loop, [guest], () => warnings.length > 0);
    t.deepEqual(guest.frames, [frame(1, 60)]);
    t.deepEqual(warnings, [`the network of it is gone, its link is down: a frame of ${length} bytes`]);
  });
}

test.serial('the other end is told the guest’s address when its driver is ready, before any frame', async (t) => {
  const mac = Uint8Array.of(6, 0, 0xac, 0x10, 0, 2);
  const { guest, came } = await connected(t, {}, mac);
  guest.driver.send(frame(1, 100));
  const size = () => came.reduce((sum, { length }) => sum + length, 0);
  await runUntil(loop, [guest], () => size() === 4 + 60 + 4 + 100);
  const all = Buffer.concat(came);
  t.deepEqual([...all.subarray(0, 18)], [0, 0, 0, 60, 255, 255, 255, 255, 255, 255, ...mac, 0x88, 0xb5]);
  t.deepEqual(Uint8Array.from(all.subarray(68)), frame(1, 100));
});

test('a socket that nobody listens on is an error of the configuration', (t) => {
  const error = t.throws(() => connectStream('/nowhere/socket', '/x'), { instanceOf: ConfigError });
  t.is(
    error.toLine(),
    '/x: cannot connect to /nowhere/socket (ENOENT); start passt first: passt --socket /nowhere/socket',
  );
  t.throws(() => connectStream(`/${'x'.repeat(120)}`, '/x'), { instanceOf: ConfigError, message: /too long/ });
});
