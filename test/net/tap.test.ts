import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import test from 'ava';
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_F_STATUS,
} from '../../devices/virtio/net/constants.ts';
import { ConfigError, HostError } from '../../lib/errors.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { TapBackend } from '../../lib/net/tap.ts';
import * as layout from '../../lib/net/tun-layout.ts';
import { compareWithC, constantsOf, hasMacro } from '../helpers/c-layout.ts';
import { arpReply, hasUdpChecksum, udpFrame } from '../helpers/frames.ts';
import { enterNetNamespace, ip, withoutNetAdmin } from '../helpers/net-namespace.ts';
import { MERGING } from '../helpers/virtio/net-driver.ts';
import { NetGuest, runUntil } from '../helpers/virtio/net-guest.ts';

const WHERE = '/network-interfaces/0/host_dev_name';
const GUEST_MAC = '06:00:ac:10:00:02';
const loop = new EventLoop();

test.before(() => enterNetNamespace());

function tap(name: string, warnings: string[] = []): TapBackend {
  return new TapBackend(loop, 0, { name, where: WHERE, warn: (line) => warnings.push(line) });
}

function guestOn(name: string, options: ConstructorParameters<typeof NetGuest>[1] = {}): NetGuest {
  return new NetGuest((guest) => new TapBackend(loop, guest, { name, where: WHERE, warn: () => {} }), options);
}

/** Frames that tell which they are, in lengths of all kinds, for a bridge that knows no address yet. */
function frame(number: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.fill(0xff, 0, 6);
  bytes.set([2, 0, 0, 0, 0, number % 2], 6);
  // An EtherType for experiments (IEEE 802).
  bytes.set([0x88, 0xb5], 12);
  for (let i = 14; i < length; i++) bytes[i] = (number * 13 + i * 7) & 0xff;
  return bytes;
}

test('structures and numbers are the kernel’s', (t) => {
  const headers = ['linux/if.h', 'linux/if_tun.h', 'linux/sockios.h'];
  const constants = constantsOf(layout);
  for (const name of ['TUN_F_USO4', 'TUN_F_USO6']) {
    t.true(name in constants);
    if (!hasMacro(headers, name)) delete constants[name];
  }
  compareWithC(t, {
    headers: ['sys/socket.h', 'sys/ioctl.h', ...headers],
    constants,
    structs: [{ layout: layout.ifreq as never }],
  });
});

test.serial('a tap that is not there is made, brought up, and goes when it is closed', (t) => {
  const warnings: string[] = [];
  const backend = tap('made0', warnings);
  t.regex(ip('-o', 'link', 'show', 'made0'), /<[^>]*\bUP\b/);
  t.deepEqual(warnings, []);
  backend.close();
  t.throws(() => ip('link', 'show', 'made0'));
});

test.serial('a tap that is there is used as it is, by one at a time', (t) => {
  ip('tuntap', 'add', 'dev', 'there0', 'mode', 'tap');
  const warnings: string[] = [];
  const backend = tap('there0', warnings);
  t.deepEqual(warnings, ['there0 is down, so the guest reaches nobody; run: sudo ip link set there0 up']);
  const error = t.throws(() => tap('there0'), { instanceOf: ConfigError });
  t.is(
    error.toLine(),
    `${WHERE}: there0 is in use by another virtual machine or interface; stop the other one, or name another tap`,
  );
  backend.close();
  t.notThrows(() => tap('there0').close());
  ip('link', 'del', 'there0');
});

test.serial('what is no tap is refused, and who may not make one is told how', (t) => {
  const other = t.throws(() => tap('lo'), { instanceOf: ConfigError });
  t.regex(other.toLine(), /^\/network-interfaces\/0\/host_dev_name: lo is not a tap device .*; name another one/);
  const forbidden = t.throws(() => withoutNetAdmin(() => tap('nope0')), { instanceOf: HostError });
  t.is(
    forbidden.toLine(),
    `${WHERE}: no permission to make nope0, which does not exist; ` +
      'run once: sudo ip tuntap add dev nope0 mode tap user $USER && sudo ip link set nope0 up',
  );
  process.seteuid?.(65_534);
  try {
    const closed = t.throws(() => tap('nope0'), { instanceOf: HostError });
    t.regex(closed.toLine(), /cannot open \/dev\/net\/tun \(EACCES\); give yourself access/);
  } finally {
    process.seteuid?.(0);
  }
});

test.serial('frames go between two guests, none lost, changed or out of order', async (t) => {
  const left = guestOn('left0');
  const right = guestOn('right0', { bufferLength: 512 });
  ip('link', 'add', 'bridge0', 'type', 'bridge');
  for (const name of ['left0', 'right0']) ip('link', 'set', name, 'master', 'bridge0');
  ip('link', 'set', 'bridge0', 'up');
  const count = 2000;
  const lengths = Array.from({ length: count }, (_, i) => 60 + ((i * 97) % 1455));
  const expected = lengths.map((length, i) => frame(i, length));
  let sent = 0;
  const isOurs = (bytes: Uint8Array) => bytes[12] === 0x88 && bytes[13] === 0xb5;
  const step = (): void => {
    // As many on the way as the kernel's queue of a tap holds for sure.
    const arrived = Math.min(left.frames.filter(isOurs).length, right.frames.filter(isOurs).length);
    while (sent < count && sent - arrived < 200 && left.driver.ring(1).freeDescriptors > 0) {
      if (right.driver.ring(1).freeDescriptors === 0) break;
      left.driver.send(expected[sent]!, undefined, 12);
      right.driver.send(expected[sent]!, undefined, 40);
      sent++;
    }
  };
  const all = () => [left, right].every(({ frames }) => frames.filter(isOurs).length === count);
  await runUntil(loop, [left, right], all, step);
  t.deepEqual(Buffer.concat(left.frames.filter(isOurs)), Buffer.concat(expected));
  t.deepEqual(Buffer.concat(right.frames.filter(isOurs)), Buffer.concat(expected));
  t.is(left.device.metrics.tx_fails, 0);
  for (const { backend } of [left, right]) (backend as TapBackend).close();
  ip('link', 'del', 'bridge0');
});

test.serial('a batch of frames costs one foreign call', (t) => {
  const guest = guestOn('batch0');
  for (let i = 0; i < 32; i++) guest.driver.send(frame(i, 100));
  const { batch } = loop.arena;
  guest.driver.core.poll();
  t.is(loop.arena.batch - batch, 1);
  t.is(guest.device.metrics.tx_packets_count, 32);
  (guest.backend as TapBackend).close();
});

test.serial('the kernel completes checksums and cuts segments as the header asks', async (t) => {
  const guest = guestOn('sum0', { features: [...MERGING, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_USO] });
  ip('addr', 'add', '192.0.2.1/24', 'dev', 'sum0');
  const hostMac = /link\/ether (\S+)/.exec(ip('link', 'show', 'sum0'))?.[1] as string;
  const socket: Socket = createSocket('udp4');
  const messages: Buffer[] = [];
  socket.on('message', (message) => messages.push(message));
  socket.bind(7000, '192.0.2.1');
  await once(socket, 'listening');
  const payload = Buffer.from(Array.from({ length: 4000 }, (_, i) => (i * 11) & 0xff));
  const route = { from: GUEST_MAC, to: hostMac, source: '192.0.2.2', target: '192.0.2.1', port: 7000 };
  const plain = udpFrame({ ...route, payload: payload.subarray(0, 700) });
  guest.driver.send(plain.bytes, plain.header);
  const segments = udpFrame({ ...route, payload, segment: 1000 });
  guest.driver.send(segments.bytes, segments.header);
  const wrong = udpFrame({ ...route, payload: payload.subarray(0, 100) });
  // Neither completed nor right: the kernel throws it away.
  wrong.header.fill(0);
  guest.driver.send(wrong.bytes, wrong.header);
  await runUntil(loop, [guest], () => messages.length >= 5);
  t.deepEqual(
    messages.map(({ length }) => length),
    [700, 1000, 1000, 1000, 1000],
  );
  t.deepEqual(Buffer.concat(messages.slice(1)), payload);
  t.is(guest.device.metrics.tx_fails, 0);

  // And back: the host asks who the guest is, and sends what it is told to.
  socket.send('hello', 9, '192.0.2.2');
  const isArp = (bytes: Uint8Array) => bytes[12] === 8 && bytes[13] === 6;
  await runUntil(loop, [guest], () => guest.frames.some(isArp));
  guest.driver.send(arpReply(guest.frames.find(isArp) as Uint8Array, GUEST_MAC));
  const isHello = (bytes: Uint8Array) => Buffer.from(bytes).includes('hello');
  await runUntil(loop, [guest], () => guest.frames.some(isHello));
  t.pass();
  socket.close();
  (guest.backend as TapBackend).close();
});

test.serial(
  'a long frame with segments left to the guest comes whole; who does not take such gets each segment',
  async (t) => {
    const bits = [VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_USO6];
    const sender = guestOn('seg0', { features: [...MERGING, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_USO] });
    const whole = guestOn('seg1', { features: [...MERGING, ...bits] });
    const plain = guestOn('seg2');
    ip('link', 'add', 'bridge1', 'type', 'bridge');
    for (const name of ['seg0', 'seg1', 'seg2']) ip('link', 'set', name, 'master', 'bridge1');
    ip('link', 'set', 'bridge1', 'up');
    const payload = Buffer.from(Array.from({ length: 42_000 }, (_, i) => (i * 11 + (i >> 8)) & 0xff));
    const route = { from: GUEST_MAC, to: 'ff:ff:ff:ff:ff:ff', source: '192.0.2.2', target: '192.0.2.255', port: 7000 };
    const { bytes, header } = udpFrame({ ...route, payload, segment: 1400 });
    const isOurs = (frame: Uint8Array) => frame[23] === 17 && frame[36] === 7000 >> 8 && frame[37] === (7000 & 0xff);
    // A bridge forwards only some time after a port has come up.
    let sent = 0;
    const step = (): void => {
      const now = performance.now();
      if (now - sent < 100 || whole.frames.some(isOurs)) return;
      sent = now;
      sender.driver.send(bytes, header);
    };
    const arrived = () => whole.frames.some(isOurs) && plain.frames.filter(isOurs).length >= 30;
    await runUntil(loop, [sender, whole, plain], arrived, step);
    const long = whole.frames.find(isOurs) as Uint8Array;
    t.deepEqual(Buffer.from(long.subarray(42)), payload);
    const segments = plain.frames.filter(isOurs).slice(0, 30);
    t.deepEqual(Buffer.concat(segments.map((frame) => frame.subarray(42))), payload);
    t.true(segments.every(hasUdpChecksum));
    for (const { backend } of [sender, whole, plain]) (backend as TapBackend).close();
    ip('link', 'del', 'bridge1');
  },
);

test.serial('a tap that is deleted takes the link down, and the device lives on', async (t) => {
  const guest = guestOn('gone0');
  const { registers } = guest.driver;
  t.is(registers.readConfig(6, 2), 1);
  t.not(guest.driver.core.features & (1n << BigInt(VIRTIO_NET_F_STATUS)), 0n);
  ip('link', 'del', 'gone0');
  await runUntil(loop, [guest], () => registers.readConfig(6, 2) === 0);
  t.true(registers.takeInterrupts().config);
  const before = guest.device.metrics.tx_fails;
  guest.driver.send(frame(1, 60));
  guest.poll();
  t.is(guest.device.metrics.tx_fails, before + 1);
  guest.driver.start({ features: MERGING });
  t.is(registers.readConfig(6, 2), 0);
  (guest.backend as TapBackend).close();
});
