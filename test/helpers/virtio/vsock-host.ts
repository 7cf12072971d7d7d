import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { VsockDevice } from '../../../devices/virtio/vsock/vsock.ts';
import { EventLoop } from '../../../lib/loop/event-loop.ts';
import { HostMemory } from '../../../lib/memory/host-memory.ts';
import { createVsock } from '../../../lib/vsock/create.ts';
import { GuestSockets } from './guest-sockets.ts';
import { GUEST_CID, VsockDriver } from './vsock-driver.ts';

export interface VsockHost {
  readonly loop: EventLoop;
  readonly path: string;
  readonly device: VsockDevice;
  readonly driver: VsockDriver;
  readonly guest: GuestSockets;
  /** Called in each turn of the loop, after the guest has done what it can. */
  inEachTurn: () => void;
}

/** A guest whose sockets are connected with real ones of this host, in a loop that runs until `body` ends. */
export async function withVsock(
  t: ExecutionContext,
  body: (host: VsockHost) => Promise<void>,
  options: { memorySize?: number; buffers?: number } = {},
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-vsock-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'v.sock');
  const loop = new EventLoop();
  const memory = new HostMemory(options.memorySize ?? 64 << 20, 'None');
  const { device, close } = createVsock({ guestCid: GUEST_CID, udsPath: path }, loop, memory);
  const driver = new VsockDriver('mmio', device, memory.guest);
  driver.bringUp(options.buffers ?? 32);
  const guest = new GuestSockets(driver);
  const host: VsockHost = { loop, path, device, driver, guest, inEachTurn: () => {} };
  loop.addPoller({
    poll: () => {
      const busy = guest.run();
      host.inEachTurn();
      if (busy) loop.yieldToNode();
      return busy;
    },
  });
  const running = loop.run();
  try {
    await body(host);
  } finally {
    loop.stop();
    await running;
    close();
    loop.close();
  }
}

/** Resolves when something has come true, which is looked at whenever the test has nothing else to do. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Connects with a port of the guest. @returns the socket, which has not read anything yet */
export function dial(path: string, command: string): Socket {
  const socket = connect({ path, allowHalfOpen: true });
  socket.on('error', () => {});
  socket.write(command);
  return socket;
}

/** What a socket brings: up to the end, or so many bytes. */
export async function readFrom(socket: Socket, bytes = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  while (length < bytes) {
    const chunk: Buffer | null = socket.read(Math.min(bytes - length, socket.readableLength) || undefined);
    if (chunk !== null) {
      chunks.push(chunk);
      length += chunk.length;
    } else if (socket.readableEnded || socket.destroyed) break;
    else await new Promise<void>((resolve) => waitFor(socket, resolve));
  }
  return Buffer.concat(chunks);
}

function waitFor(socket: Socket, resolve: () => void): void {
  const done = (): void => {
    for (const event of ['readable', 'end', 'close'] as const) socket.off(event, done);
    resolve();
  };
  for (const event of ['readable', 'end', 'close'] as const) socket.on(event, done);
}

/** Waits for the guest at one of the host's ports. */
export async function serve(path: string, port: number, serve: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: false }, (socket) => {
    socket.on('error', () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(`${path}_${port}`, resolve));
  return server;
}
