import test from 'ava';
import { VIRTIO_CONFIG_S_NEEDS_RESET } from '../../../devices/virtio/constants.ts';
import type { RequestLimiter } from '../../../devices/virtio/limiter.ts';
import * as net from '../../../devices/virtio/net/constants.ts';
import { parseMac } from '../../../devices/virtio/net/net.ts';
import { compareWithC, constantsOf, hasMacro } from '../../helpers/c-layout.ts';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';
import { MERGING, NET_FEATURES, netFixture, SOME_OFFLOADS } from '../../helpers/virtio/net-driver.ts';

const { HEADER_SIZE, RECEIVE_QUEUE, TRANSMIT_QUEUE } = net;
const MAC = parseMac('06:00:ac:10:00:02');

function frame(length: number, seed = 0): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7) & 0xff);
  bytes.set(MAC, 6);
  return bytes;
}

/** A header of what the driver asks for. */
function header(fields: { flags?: number; type?: number; length?: number; size?: number; sum?: [number, number] }) {
  const view = new DataView(new ArrayBuffer(net.HEADER_SIZE));
  view.setUint8(0, fields.flags ?? 0);
  view.setUint8(1, fields.type ?? 0);
  view.setUint16(2, fields.length ?? 0, true);
  view.setUint16(4, fields.size ?? 0, true);
  view.setUint16(6, fields.sum?.[0] ?? 0, true);
  view.setUint16(8, fields.sum?.[1] ?? 0, true);
  return new Uint8Array(view.buffer);
}

/** A limiter that lets so many operations through. */
class Valve implements RequestLimiter {
  left = 0;
  bytes = 0;
  #listener: () => void = () => {};

  take(operations: number, bytes: number): boolean {
    if (this.left < operations) return false;
    this.left -= operations;
    this.bytes += bytes;
    return true;
  }

  onReady(listener: () => void): void {
    this.#listener = listener;
  }

  open(count: number): void {
    this.left += count;
    this.#listener();
  }
}

test('numbers and structures are those of Linux', (t) => {
  const constants: Record<string, number> = constantsOf(net);
  for (const name of ['RECEIVE_QUEUE', 'TRANSMIT_QUEUE', 'HEADER_SIZE', 'NET_QUEUE_SIZE', 'MAX_FRAME_SIZE']) {
    delete constants[name];
  }
  // Of Linux 6.2 and later.
  for (const name of [
    'VIRTIO_NET_F_GUEST_USO4',
    'VIRTIO_NET_F_GUEST_USO6',
    'VIRTIO_NET_F_HOST_USO',
    'VIRTIO_NET_HDR_GSO_UDP_L4',
  ]) {
    t.true(name in constants);
    if (!hasMacro(['linux/virtio_net.h'], name)) delete constants[name];
  }
  constants['sizeof(struct virtio_net_hdr_v1)'] = net.HEADER_SIZE;
  for (const [name, offset] of Object.entries(net.NetConfig)) {
    if (name !== 'SIZE') constants[`offsetof(struct virtio_net_config, ${name})`] = offset;
  }
  constants['offsetof(struct virtio_net_config, speed)'] = net.NetConfig.SIZE;
  compareWithC(t, { headers: ['linux/virtio_net.h'], constants });
});

test('only what was configured and what the backend can do is offered', (t) => {
  const bare = netFixture('mmio').driver.features;
  t.is(bare & (1n << BigInt(net.VIRTIO_NET_F_MAC)), 0n);
  t.is(bare & (1n << BigInt(net.VIRTIO_NET_F_MTU)), 0n);
  t.is(bare & SOME_OFFLOADS, 0n);
  const full = netFixture('mmio', { mac: MAC, mtu: 1400, offloads: SOME_OFFLOADS }).driver.features;
  t.not(full & (1n << BigInt(net.VIRTIO_NET_F_MAC)), 0n);
  t.not(full & (1n << BigInt(net.VIRTIO_NET_F_MTU)), 0n);
  t.is(full & SOME_OFFLOADS, SOME_OFFLOADS);
});

for (const transport of TRANSPORTS) {
  test(`${transport}: the configuration tells address, MTU and link`, (t) => {
    const { driver, wire } = netFixture(transport, { mac: MAC, mtu: 1400 });
    driver.start({ features: NET_FEATURES });
    const { registers } = driver;
    t.deepEqual(
      [0, 1, 2, 3, 4, 5].map((i) => registers.readConfig(i, 1)),
      [...MAC],
    );
    t.is(registers.readConfig(net.NetConfig.mtu, 2), 1400);
    t.is(registers.readConfig(net.NetConfig.status, 2), net.VIRTIO_NET_S_LINK_UP);
    registers.writeConfig(0, 4, 0);
    t.is(registers.readConfig(0, 1), MAC[0] as number);
    const before = registers.generation;
    wire.linkUp = false;
    wire.listener?.linkChanged();
    t.true(registers.takeInterrupts().config);
    t.not(registers.generation, before);
    t.is(registers.readConfig(net.NetConfig.status, 2), 0);
  });

  test(`${transport}: frames go out in order, however they are cut`, (t) => {
    const { driver, wire, device } = netFixture(transport, { mac: MAC });
    driver.start({ features: NET_FEATURES });
    const frames = [frame(60), frame(1514, 1), frame(200, 2)];
    const heads = [
      driver.send(frames[0]!),
      driver.send(frames[1]!, undefined, 12, 700),
      driver.send(frames[2]!, undefined, 5, 3, 6, 4, 1, 2),
    ];
    driver.registers.notify(TRANSMIT_QUEUE);
    t.deepEqual(
      wire.sent.map(({ bytes }) => bytes),
      frames,
    );
    t.deepEqual(driver.sent(), heads);
    t.true(driver.registers.takeInterrupts().queue);
    t.is(device.metrics.tx_packets_count, 3);
    t.is(device.metrics.tx_bytes_count, 60 + 1514 + 200);
    t.is(device.metrics.tx_spoofed_mac_count, 0);
    driver.send(new Uint8Array(60), undefined, 14);
    driver.core.poll();
    t.is(device.metrics.tx_spoofed_mac_count, 1);
  });

  test(`${transport}: frames come in, each in a buffer of its own`, (t) => {
    const { driver, wire, device } = netFixture(transport);
    driver.start({ features: NET_FEATURES });
    driver.post(6, 1530, 300);
    const frames = [frame(60), frame(1514, 1), frame(99, 2)];
    wire.arrive(...frames);
    const received = driver.received();
    t.deepEqual(
      received.map(({ bytes }) => bytes),
      frames,
    );
    t.true(received.every(({ header: { 10: low } }) => low === 1));
    t.true(driver.registers.takeInterrupts().queue);
    t.is(device.metrics.rx_packets_count, 3);
    t.is(device.metrics.rx_bytes_count, 60 + 1514 + 99);
    // The buffers that no frame needed are used by the next ones.
    wire.arrive(frame(70), frame(71), frame(72));
    t.is(driver.received().length, 3);
    t.is(driver.core.queues[RECEIVE_QUEUE]!.inFlight, 0);
  });

  test(`${transport}: long frames are spread over buffers`, (t) => {
    const { driver, wire } = netFixture(transport, { offloads: SOME_OFFLOADS });
    driver.start({ features: MERGING, queueSize: 256 });
    driver.post(100, 1000, 500);
    const frames = [frame(60), frame(20_000, 1), frame(988, 2), frame(989, 3), frame(65_550, 4), frame(64, 5)];
    wire.arrive(...frames);
    t.deepEqual(
      driver.received().map(({ bytes }) => bytes),
      frames,
    );
  });

  test(`${transport}: a reset forgets buffers, and the device works again`, (t) => {
    const { driver, wire } = netFixture(transport);
    driver.start({ features: MERGING });
    driver.post(10, 1526);
    wire.arrive(frame(60));
    driver.start({ features: MERGING });
    wire.arrive(frame(61));
    t.is(driver.received().length, 0);
    driver.post(10, 1526);
    driver.core.poll();
    t.deepEqual(driver.received()[0]?.bytes, frame(61));
    driver.send(frame(62));
    driver.core.poll();
    t.deepEqual(wire.sent[0]?.bytes, frame(62));
  });

  test(`${transport}: each queue can be reset by itself`, (t) => {
    const { driver, wire } = netFixture(transport);
    driver.start({ features: [...MERGING, 40] });
    driver.post(4, 100);
    // In the device's hands: a frame that waits for more buffers, and the ones it has.
    wire.arrive(frame(1000));
    t.is(driver.received().length, 0);
    driver.registers.resetQueue(RECEIVE_QUEUE);
    driver.setUpQueue(RECEIVE_QUEUE);
    driver.post(2, 1526);
    driver.core.poll();
    t.is(driver.received().length, 0);
    wire.arrive(frame(80));
    t.deepEqual(driver.received()[0]?.bytes, frame(80));
    driver.registers.resetQueue(TRANSMIT_QUEUE);
    driver.setUpQueue(TRANSMIT_QUEUE);
    driver.send(frame(90));
    driver.core.poll();
    t.deepEqual(wire.sent[0]?.bytes, frame(90));
  });
}

test('frames wait for buffers, and only then are notifications asked for', (t) => {
  const { driver, wire, device } = netFixture('mmio');
  driver.start({ features: MERGING });
  driver.core.poll();
  driver.post(1, 1526);
  driver.core.listen();
  t.not(driver.ring(RECEIVE_QUEUE).availEvent, 1);
  wire.arrive(frame(60), frame(61, 1));
  t.is(driver.received().length, 1);
  t.is(device.metrics.no_rx_avail_buffer, 1);
  t.false(driver.core.listen());
  t.is(driver.ring(RECEIVE_QUEUE).availEvent, 1);
  driver.post(1, 1526);
  driver.core.poll();
  t.deepEqual(driver.received()[0]?.bytes, frame(61, 1));
});

test('a frame that needs more buffers than there are waits for them; one that the ring cannot hold is dropped', (t) => {
  const { driver, wire, device } = netFixture('mmio', { offloads: SOME_OFFLOADS });
  driver.start({ features: MERGING, queueSize: 4 });
  driver.post(2, 1000);
  wire.arrive(frame(3000), frame(100, 1));
  t.is(driver.received().length, 0);
  driver.post(1, 1012);
  driver.core.poll();
  t.deepEqual(driver.received()[0]?.bytes, frame(3000));
  driver.post(4, 1000);
  driver.core.poll();
  t.deepEqual(driver.received()[0]?.bytes, frame(100, 1));
  driver.post(1, 1000);
  wire.arrive(frame(5000, 2), frame(70, 3));
  t.is(device.metrics.rx_fails, 1);
  t.deepEqual(driver.received()[0]?.bytes, frame(70, 3));
});

test('without merging, a frame that is longer than its buffer is dropped', (t) => {
  const { driver, wire, device } = netFixture('mmio');
  driver.start({ features: NET_FEATURES });
  driver.post(4, 100);
  wire.arrive(frame(88), frame(89, 1), frame(60, 2));
  t.deepEqual(
    driver.received().map(({ bytes }) => bytes),
    [frame(88), frame(60, 2)],
  );
  t.is(device.metrics.rx_fails, 1);
});

test('a read that fails is counted, and frames behind it come', (t) => {
  const { driver, wire, device } = netFixture('mmio');
  driver.start({ features: MERGING });
  driver.post(8, 1526);
  wire.waiting.push(5);
  wire.arrive(frame(60), 12, frame(61, 1));
  t.deepEqual(
    driver.received().map(({ bytes }) => bytes),
    [frame(60), frame(61, 1)],
  );
  t.is(device.metrics.tap_read_fails, 2);
});

test('offloads reach the host as they were asked for', (t) => {
  const { driver, wire } = netFixture('mmio', { offloads: SOME_OFFLOADS });
  const bits = [net.VIRTIO_NET_F_CSUM, net.VIRTIO_NET_F_HOST_TSO4];
  driver.start({ features: [...NET_FEATURES, ...bits] });
  t.is(wire.configured & SOME_OFFLOADS, (1n << BigInt(bits[0]!)) | (1n << BigInt(bits[1]!)));
  const segments = header({ flags: 1, type: 1, length: 54, size: 1448, sum: [34, 16] });
  driver.send(frame(4000), segments);
  // What else is set is none of the driver's business: flags, num_buffers.
  const noise = header({ flags: 1, sum: [34, 16] });
  noise[0] = 0x87;
  noise[10] = 9;
  driver.send(frame(100), noise);
  driver.core.poll();
  t.deepEqual(wire.sent[0]?.header, segments);
  t.deepEqual(wire.sent[1]?.header, header({ flags: 1, sum: [34, 16] }));
});

for (const [what, bytes, head] of [
  ['shorter than an Ethernet header', frame(13), header({})],
  ['longer than an IP packet can be', frame(65_551), header({})],
  ['checksum not negotiated', frame(60), header({ flags: 1, sum: [34, 16] })],
  ['segmentation not negotiated', frame(600), header({ flags: 1, type: 4, size: 100, sum: [34, 16] })],
  ['segmentation of no known type', frame(600), header({ flags: 1, type: 3, size: 100, sum: [34, 16] })],
  ['a type beyond all', frame(600), header({ flags: 1, type: 0x7f, size: 100, sum: [34, 16] })],
] as const) {
  test(`a frame to send is refused: ${what}`, (t) => {
    const { driver, wire, device } = netFixture('mmio', { offloads: SOME_OFFLOADS });
    driver.start({ features: NET_FEATURES });
    const heads = [driver.send(frame(60)), driver.send(bytes, head), driver.send(frame(61))];
    driver.core.poll();
    t.deepEqual(
      wire.sent.map((sent) => sent.bytes.length),
      [60, 61],
    );
    t.deepEqual(driver.sent(), heads);
    t.is(device.metrics.tx_malformed_frames, 1);
    t.is(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
  });
}

for (const [what, head] of [
  ['checksum beyond the frame', header({ flags: 1, sum: [34, 25] })],
  ['checksum far beyond the frame', header({ flags: 1, sum: [0xffff, 0xffff] })],
  ['segments without a checksum', header({ type: 1, size: 100 })],
  ['segments of no bytes', header({ flags: 1, type: 1, size: 0, sum: [34, 16] })],
  ['ECN that was not negotiated', header({ flags: 1, type: 0x81, size: 9, sum: [34, 16] })],
  ['ECN of nothing', header({ flags: 1, type: 0x80, size: 9, sum: [34, 16] })],
] as const) {
  test(`a header is refused: ${what}`, (t) => {
    const { driver, wire, device } = netFixture('mmio', { offloads: SOME_OFFLOADS });
    driver.start({ features: [...NET_FEATURES, net.VIRTIO_NET_F_CSUM, net.VIRTIO_NET_F_HOST_TSO4] });
    driver.send(frame(60), head);
    driver.core.poll();
    t.is(wire.sent.length, 0);
    t.is(driver.sent().length, 1);
    t.is(device.metrics.tx_malformed_frames, 1);
  });
}

test('what the host says of a frame reaches the driver only as far as was negotiated', (t) => {
  const { driver, wire, device } = netFixture('mmio', { offloads: SOME_OFFLOADS });
  driver.start({ features: MERGING });
  driver.post(8, 1526);
  wire.arrive(
    { header: header({ flags: 2 }), bytes: frame(60) },
    { header: header({ flags: 1, sum: [34, 16] }), bytes: frame(61) },
    { header: header({ flags: 2, type: 1, size: 9 }), bytes: frame(62) },
  );
  const [only, ...others] = driver.received();
  t.deepEqual([only?.header[0], only?.bytes.length, others.length], [0, 60, 0]);
  t.is(device.metrics.rx_fails, 2);
  driver.start({ features: [...MERGING, net.VIRTIO_NET_F_GUEST_CSUM, net.VIRTIO_NET_F_GUEST_TSO4] });
  driver.post(8, 1526);
  const given = header({ flags: 1, type: 1, length: 54, size: 1448, sum: [34, 16] });
  wire.arrive({ header: given, bytes: frame(3000) });
  const [big] = driver.received();
  given[10] = 2;
  t.deepEqual(big?.header, given);
});

test('a congested host is waited for, and nothing is lost or doubled', (t) => {
  const { driver, wire } = netFixture('mmio');
  driver.start({ features: NET_FEATURES });
  wire.credit = 3;
  const frames = Array.from({ length: 12 }, (_, i) => frame(60 + i, i));
  const heads = frames.map((bytes) => driver.send(bytes));
  driver.core.poll();
  t.is(wire.sent.length, 3);
  t.deepEqual(driver.sent(), heads.slice(0, 3));
  t.false(driver.core.poll());
  for (const credit of [1, 6, 100]) {
    wire.credit = credit;
    wire.listener?.writable();
    driver.core.poll();
  }
  t.deepEqual(
    wire.sent.map(({ bytes }) => bytes),
    frames,
  );
  t.deepEqual(driver.sent(), heads.slice(3));
});

test('lost frames are counted', (t) => {
  const { driver, wire, device } = netFixture('mmio');
  driver.start({ features: NET_FEATURES });
  wire.failures = 1;
  driver.send(frame(60));
  driver.send(frame(61));
  driver.core.poll();
  t.is(driver.sent().length, 2);
  t.deepEqual([device.metrics.tx_fails, device.metrics.tx_packets_count], [1, 1]);
});

test('limiters hold each direction, and each frame is paid for once', (t) => {
  const transmitLimiter = new Valve();
  const receiveLimiter = new Valve();
  const { driver, wire, device } = netFixture('mmio', { transmitLimiter, receiveLimiter });
  driver.start({ features: MERGING });
  driver.post(8, 1526);
  wire.arrive(frame(60), frame(61));
  t.is(driver.received().length, 0);
  receiveLimiter.open(1);
  t.is(driver.received().length, 1);
  receiveLimiter.open(1);
  t.deepEqual(driver.received()[0]?.bytes, frame(61));
  t.is(receiveLimiter.bytes, 121);
  t.is(device.metrics.rx_rate_limiter_throttled, 2);

  for (let i = 0; i < 4; i++) driver.send(frame(60 + i));
  driver.core.poll();
  t.is(wire.sent.length, 0);
  t.false(driver.core.poll());
  wire.credit = 1;
  transmitLimiter.open(3);
  driver.core.poll();
  t.is(wire.sent.length, 1);
  wire.credit = 9;
  wire.listener?.writable();
  driver.core.poll();
  t.is(wire.sent.length, 3);
  t.is(transmitLimiter.bytes, 60 + 61 + 62);
  transmitLimiter.open(1);
  driver.core.poll();
  t.is(wire.sent.length, 4);
  t.is(driver.sent().length, 4);
});

test('a frame that is made longer while it waits is paid for again, and not looked at until it can be', (t) => {
  const transmitLimiter = new Valve();
  const { driver, wire } = netFixture('mmio', { transmitLimiter });
  driver.start({ features: MERGING });
  const ring = driver.ring(TRANSMIT_QUEUE);
  const address = driver.allocate(HEADER_SIZE + 100);
  const heads = [60, 60].map((length) => ring.add([{ address, length: HEADER_SIZE + length, writable: false }]));
  wire.credit = 1;
  transmitLimiter.open(2);
  driver.core.poll();
  t.is(wire.sent.length, 1);
  const longer = { address, length: HEADER_SIZE + 100, flags: 0, next: 0 };
  ring.writeDescriptor(ring.place.descriptors + 16 * heads[1]!, longer);
  wire.credit = 9;
  wire.listener?.writable();
  t.true(driver.core.poll());
  t.is(wire.sent.length, 1);
  t.false(driver.core.poll(), 'the limiter tells when to look again');
  transmitLimiter.open(1);
  t.true(driver.core.poll());
  t.is(wire.sent[1]?.bytes.length, 100);
  t.is(transmitLimiter.bytes, 60 + 60 + 100);
});

for (const [what, queue, buffers] of [
  ['a frame without a header', TRANSMIT_QUEUE, [{ length: 11, writable: false }]],
  ['a writable buffer to send', TRANSMIT_QUEUE, [{ length: 100, writable: true }]],
  ['room for less than a header', RECEIVE_QUEUE, [{ length: 11, writable: true }]],
  ['readable room', RECEIVE_QUEUE, [{ length: 100, writable: false }]],
] as const) {
  test(`a driver at fault: ${what}`, (t) => {
    const { driver, wire } = netFixture('mmio');
    driver.start({ features: MERGING });
    const address = driver.allocate(100);
    driver.ring(queue).add(buffers.map((buffer) => ({ ...buffer, address })));
    wire.arrive(frame(60));
    driver.core.poll();
    t.not(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    t.is(driver.warnings.length, 1);
    t.false(wire.listener?.receive());
    driver.start({ features: MERGING });
    driver.post(2, 1526);
    wire.arrive(frame(61));
    t.deepEqual(driver.received().at(-1)?.bytes, frame(61));
  });
}
