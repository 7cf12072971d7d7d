import { once } from 'node:events';
import { createConnection, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';

/**
 * Listens, and sends back to the first who connects what comes from there, as the guest’s `listen` does.
 * @param where a port and address, or a path
 * @returns where all that came is, once the other side has ended
 */
export async function echoOnce(
  where: { port: number; host: string } | { path: string },
): Promise<{ readonly came: Promise<Buffer> }> {
  const server: Server = createServer({ allowHalfOpen: true }).listen(where);
  const connected = once(server, 'connection') as Promise<[Socket]>;
  await once(server, 'listening');
  return { came: connected.then(([socket]) => echo(socket)).finally(() => server.close()) };
}

async function echo(socket: Socket): Promise<Buffer> {
  const came: Buffer[] = [];
  for await (const chunk of socket) {
    came.push(chunk as Buffer);
    if (!socket.write(chunk as Buffer)) await once(socket, 'drain');
  }
  socket.end();
  return Buffer.concat(came);
}

/**
 * Connects, sends all of it, and takes what comes back until the other side ends.
 * @param hello is sent first, and its answer is the first line of what comes back
 */
export async function call(where: NetConnectOpts, data: Uint8Array, hello?: string): Promise<Buffer> {
  const socket = createConnection({ ...where, allowHalfOpen: true });
  await once(socket, 'connect');
  if (hello !== undefined) socket.write(hello);
  socket.end(data);
  return await buffer(socket);
}
