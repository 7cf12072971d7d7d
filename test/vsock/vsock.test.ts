import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { dial, readFrom, serve, until, withVsock } from '../helpers/virtio/vsock-host.ts';

const SEND = 2;
const BOTH = 3;
const FIRST_HOST_PORT = 2 ** 30;

function pattern(length: number, seed = 0): Buffer {
  const data = Buffer.alloc(length);
  for (let i = 0; i < length; i++) data[i] = (i * 7 + (i >> 8) * 13 + (i >> 16) + seed) & 0xff;
  return data;
}

const sha = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

test.serial('the host connects to a port of the guest', async (t) => {
  await withVsock(t, async ({ path, guest, device }) => {
    guest.accepts = (port) => port === 80;
    const client = dial(path, 'CONNECT 80\nearly');
    t.is((await readFrom(client, 14)).toString(), `OK ${FIRST_HOST_PORT}\n`);
    await until(() => guest.all[0]?.incoming.toString() === 'early');
    guest.write(guest.all[0]!, Buffer.from('from the guest'));
    t.is((await readFrom(client, 14)).toString(), 'from the guest');
    client.write(' and late');
    await until(() => guest.all[0]?.incoming.toString() === 'early and late');
    client.destroy();
    await until(() => device.connections === 0);
    t.is(guest.all[0]?.state, 'closed');
    const refused = dial(path, 'CONNECT 81\n');
    t.is((await readFrom(refused)).toString(), '', 'no OK, but the end');
    refused.destroy();
  });
});

test.serial('commands in pieces, and what is none', async (t) => {
  await withVsock(t, async ({ path, guest, device }) => {
    const slow = connect(path);
    for (const piece of ['CON', 'NECT', ' 8', '0', '\nx']) {
      slow.write(piece);
      await sleep(5);
    }
    t.regex((await readFrom(slow, 14)).toString(), /^OK \d+\n$/);
    await until(() => guest.all[0]?.incoming.toString() === 'x');
    for (const nonsense of ['GET / HTTP/1.1\r\n', 'CONNECT 4294967296\n', 'CONNECT 80'.padEnd(40), '\n']) {
      const client = dial(path, nonsense);
      t.is((await readFrom(client)).length, 0, nonsense);
      client.destroy();
    }
    const half = dial(path, 'CONNECT 8');
    half.end();
    t.is((await readFrom(half)).length, 0);
    half.destroy();
    const silent = connect(path);
    silent.on('error', () => {});
    silent.end();
    silent.resume();
    await until(() => silent.closed);
    t.is(device.connections, 1);
    slow.destroy();
    await until(() => device.connections === 0);
  });
});

test.serial('the guest connects to a port of the host', async (t) => {
  await withVsock(t, async ({ path, guest, device }) => {
    const sockets: Socket[] = [];
    const server = await serve(path, 52, (socket) => sockets.push(socket));
    const socket = guest.connect(52);
    const refused = guest.connect(53);
    await until(() => socket.state === 'connected' && refused.state === 'refused');
    await until(() => sockets.length === 1);
    guest.write(socket, Buffer.from('hello'));
    t.is((await readFrom(sockets[0]!, 5)).toString(), 'hello');
    sockets[0]!.write('good bye');
    await until(() => socket.incoming.toString() === 'good bye');
    guest.shutDown(socket, BOTH);
    t.is((await readFrom(sockets[0]!)).length, 0);
    await until(() => device.connections === 0);
    t.false(socket.aborted);
    sockets[0]!.destroy();
    server.close();
  });
});

test.serial('half-close each way', async (t) => {
  await withVsock(t, async ({ path, guest, device }) => {
    // The host asks, says that this was all, and gets an answer.
    const client = dial(path, 'CONNECT 80\nquestion');
    client.end();
    await readFrom(client, 14);
    await until(() => guest.all[0]?.endOfInput === true);
    t.is(guest.all[0]!.incoming.toString(), 'question');
    guest.write(guest.all[0]!, Buffer.from('answer'));
    guest.shutDown(guest.all[0]!, SEND);
    t.is((await readFrom(client)).toString(), 'answer');
    await until(() => device.connections === 0);
    // The guest does.
    const server = await serve(path, 52, async (socket) => {
      const question = await readFrom(socket);
      socket.end(`answer to ${question.toString()}`);
    });
    const socket = guest.connect(52);
    guest.write(socket, Buffer.from('question'));
    guest.shutDown(socket, SEND);
    await until(() => socket.endOfInput);
    t.is(socket.incoming.toString(), 'answer to question');
    await until(() => device.connections === 0);
    t.is(socket.state, 'closed');
    server.close();
  });
});

test.serial('a host that asks and leaves at once', async (t) => {
  await withVsock(t, async ({ path, guest, device }) => {
    const client = connect(path);
    client.end('CONNECT 80\nfire and forget', () => client.destroy());
    await until(() => guest.all[0]?.state === 'closed');
    t.is(guest.all[0]!.incoming.toString(), 'fire and forget');
    t.is(device.connections, 0);
  });
});

test.serial('megabytes each way at once, against readers of any pace', async (t) => {
  const size = 6 << 20;
  await withVsock(t, async ({ path, guest, device, loop }) => {
    const client = dial(path, 'CONNECT 80\n');
    await readFrom(client, 14);
    const socket = guest.all[0]!;
    const up = pattern(size, 1);
    const down = pattern(size, 2);
    guest.write(socket, up);
    guest.shutDown(socket, SEND);
    client.end(down);
    const received: Buffer[] = [];
    for (;;) {
      const chunk = await readFrom(client, 50_000);
      if (chunk.length === 0) break;
      received.push(chunk);
      // A reader that is away now and then: what it does not take is kept.
      if (received.length % 16 === 0) await sleep(1);
      loop.yieldToNode();
    }
    t.is(sha(Buffer.concat(received)), sha(up));
    await until(() => socket.endOfInput);
    t.is(sha(socket.incoming), sha(down));
    await until(() => device.connections === 0);
    t.is(device.metrics.tx_bytes_count, size);
    t.is(device.metrics.rx_bytes_count, size);
    t.is(device.metrics.conns_killed, 0);
  });
});

test.serial('a host that does not read: the guest waits, and nothing else does', async (t) => {
  await withVsock(t, async ({ path, guest, device }) => {
    const stuck = dial(path, 'CONNECT 80\n');
    await readFrom(stuck, 14);
    const lazy = guest.all[0]!;
    guest.write(lazy, pattern(4 << 20));
    await until(() => lazy.credit === 0);
    const other = dial(path, 'CONNECT 81\n');
    await readFrom(other, 14);
    guest.write(guest.all[1]!, Buffer.from('meanwhile'));
    t.is((await readFrom(other, 9)).toString(), 'meanwhile');
    t.true(lazy.outgoing.length > 3 << 20);
    const all = await readFrom(stuck, 4 << 20);
    t.is(sha(all), sha(pattern(4 << 20)));
    // It ends with data that nobody has read.
    guest.write(lazy, pattern(1 << 20));
    await until(() => lazy.credit === 0);
    stuck.destroy();
    await until(() => lazy.state === 'closed');
    other.destroy();
    await until(() => device.connections === 0);
  });
});

test.serial('200 connections at once, from either side', async (t) => {
  const count = 100;
  await withVsock(t, async ({ path, guest, device }) => {
    const server = await serve(path, 52, (socket) => socket.pipe(socket));
    const echoed = Array.from({ length: count }, () => guest.connect(52));
    await until(() => echoed.every(({ state }) => state === 'connected'));
    const clients = await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const client = dial(path, `CONNECT ${1000 + i}\n`);
        await readFrom(client, 14);
        return client;
      }),
    );
    t.is(device.connections, 2 * count);
    for (const [i, socket] of echoed.entries()) guest.write(socket, pattern(20_000, i));
    for (const [i, client] of clients.entries()) client.write(pattern(20_000, 1000 + i));
    const inward = guest.all.slice(count);
    await until(() => guest.all.every(({ incoming }) => incoming.length === 20_000));
    for (const [i, socket] of echoed.entries()) t.is(Buffer.compare(socket.incoming, pattern(20_000, i)), 0);
    for (const socket of inward) {
      t.is(Buffer.compare(socket.incoming, pattern(20_000, socket.guestPort)), 0);
      guest.write(socket, socket.incoming);
    }
    for (const [i, client] of clients.entries()) {
      t.is(Buffer.compare(await readFrom(client, 20_000), pattern(20_000, 1000 + i)), 0);
      client.destroy();
    }
    for (const socket of echoed) guest.shutDown(socket, BOTH);
    await until(() => device.connections === 0);
    t.is(device.metrics.conns_killed, 0);
    server.close();
  });
});

test.serial('a device reset closes the host’s ends; who connects then is served when the guest is back', async (t) => {
  await withVsock(t, async ({ path, guest, device, driver }) => {
    const client = dial(path, 'CONNECT 80\n');
    await readFrom(client, 14);
    driver.registers.status = 0;
    guest.all.length = 0;
    t.is((await readFrom(client)).length, 0);
    const patient = dial(path, 'CONNECT 82\n');
    await sleep(20);
    t.is(device.connections, 0);
    driver.bringUp(32);
    t.regex((await readFrom(patient, 14)).toString(), /^OK \d+\n$/);
    patient.destroy();
    await until(() => device.connections === 0);
  });
});

test.serial('an idle connection does not wake the loop', async (t) => {
  await withVsock(t, async ({ path, guest }) => {
    const client = dial(path, 'CONNECT 80\n');
    await readFrom(client, 14);
    guest.write(guest.all[0]!, Buffer.from('x'));
    await readFrom(client, 1);
    client.write('y');
    await until(() => guest.all[0]!.incoming.length === 1);
    await sleep(50);
    const before = contextSwitches();
    await sleep(500);
    const switches = contextSwitches() - before;
    t.true(switches < 10, `${switches} context switches in half a second`);
    client.destroy();
    await until(() => guest.all[0]?.state === 'closed');
  });
});

function contextSwitches(): number {
  const status = readFileSync('/proc/thread-self/status', 'utf8');
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
}
