import test from 'ava';
import { VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_ID_VSOCK } from '../../../devices/virtio/constants.ts';
import * as vsock from '../../../devices/virtio/vsock/constants.ts';
import { compareWithC, constantsOf } from '../../helpers/c-layout.ts';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';
import {
  allGone,
  EVENT,
  GUEST_CID,
  guestConnects,
  hostConnects,
  Op,
  operations,
  type Packet,
  PORTS,
  RX,
  received,
  SEND,
  TX,
  up,
  type VsockDriver,
  vsockFixture,
} from '../../helpers/virtio/vsock-driver.ts';

const BUFFER = vsock.CONNECTION_BUFFER_SIZE;

test('numbers and structures are those of Linux', (t) => {
  const constants: Record<string, number> = {};
  for (const [name, value] of Object.entries(constantsOf(vsock))) {
    if (name.startsWith('VIRTIO_VSOCK_') && name !== 'VIRTIO_VSOCK_F_STREAM') constants[name] = value;
  }
  for (const [name, offset] of Object.entries(vsock.VsockHeader)) {
    if (name !== 'SIZE') constants[`offsetof(struct virtio_vsock_hdr, ${name})`] = offset;
  }
  constants['sizeof(struct virtio_vsock_hdr)'] = vsock.VsockHeader.SIZE;
  constants['sizeof(struct virtio_vsock_config)'] = vsock.VSOCK_CONFIG_SIZE;
  constants['sizeof(struct virtio_vsock_event)'] = vsock.VSOCK_EVENT_SIZE;
  constants.VMADDR_CID_HOST = vsock.VMADDR_CID_HOST;
  compareWithC(t, { headers: ['sys/socket.h', 'linux/virtio_vsock.h', 'linux/vm_sockets.h'], constants });
});

for (const transport of TRANSPORTS) {
  test(`${transport}: the guest connects, and data goes both ways`, (t) => {
    const { driver, streams, device } = vsockFixture(transport);
    const { registers } = driver;
    t.is(registers.deviceType, VIRTIO_ID_VSOCK);
    t.is(registers.queueCount, 3);
    t.is(registers.readConfig(0, 4), GUEST_CID);
    t.is(registers.readConfig(4, 4), 0);
    t.false(streams.running);
    driver.bringUp();
    t.true(streams.running);
    streams.ports.set(52, true);
    driver.send({ ...PORTS, operation: Op.Request, bufferSize: 5000 });
    registers.notify(TX);
    t.true(registers.takeInterrupts().queue);
    t.deepEqual(driver.takePackets(), [
      {
        sourceCid: 2,
        destinationCid: GUEST_CID,
        sourcePort: 52,
        destinationPort: 1025,
        length: 0,
        type: 1,
        operation: Op.Response,
        flags: 0,
        bufferSize: BUFFER,
        forwarded: 0,
        data: Buffer.alloc(0),
      },
    ]);
    const end = streams.ends[0]!;
    driver.send({ ...PORTS, operation: Op.Data, data: Buffer.from('from the '), bufferSize: 5000 });
    driver.send({ ...PORTS, operation: Op.Data, data: Buffer.from('guest'), bufferSize: 5000 });
    registers.notify(TX);
    t.is(end.fromGuest.toString(), 'from the guest');
    t.is(driver.ring(TX).collect().length, 2);
    streams.write(end, 'from the host');
    const [packet] = driver.takePackets();
    t.like(packet, { sourcePort: 52, destinationPort: 1025, operation: Op.Data, length: 13, forwarded: 14 });
    t.is(packet?.data.toString(), 'from the host');
    t.true(registers.takeInterrupts().queue);
    t.deepEqual(
      [device.metrics.conns_added, device.metrics.rx_bytes_count, device.metrics.tx_bytes_count],
      [1, 13, 14],
    );
    t.deepEqual([device.metrics.rx_packets_count, device.metrics.tx_packets_count], [2, 3]);
  });

  test(`${transport}: the host connects, and data goes both ways`, (t) => {
    const fixture = vsockFixture(transport);
    const { driver, streams } = fixture;
    driver.bringUp();
    const end = streams.connectToGuest(80);
    streams.write(end, 'early');
    const [request, ...more] = driver.takePackets();
    t.like(request, { operation: Op.Request, destinationPort: 80, sourcePort: 2 ** 30, destinationCid: GUEST_CID });
    t.deepEqual(more, []);
    t.is(end.acknowledged, undefined);
    driver.sendNow({ sourcePort: 80, destinationPort: 2 ** 30, operation: Op.Response });
    t.is(end.acknowledged, 2 ** 30);
    t.is(received(driver.takePackets()), 'early');
    driver.sendNow({ sourcePort: 80, destinationPort: 2 ** 30, operation: Op.Data, data: Buffer.from('back') });
    t.is(end.fromGuest.toString(), 'back');
    const second = hostConnects(fixture);
    t.is(second.ports.destinationPort, 2 ** 30 + 1);
    t.is(fixture.device.connections, 2);
  });

  test(`${transport}: a reset of the device closes the host’s ends, and it works again`, (t) => {
    const fixture = vsockFixture(transport);
    const { driver, streams } = fixture;
    for (let life = 0; life < 3; life++) {
      driver.bringUp();
      const end = guestConnects(fixture);
      const { end: other } = hostConnects(fixture);
      streams.write(end, 'x');
      driver.registers.status = 0;
      t.true(end.closedByDevice && other.closedByDevice);
      t.true(allGone(fixture));
      t.false(streams.running);
      t.false(driver.core.poll());
    }
  });

  test(`${transport}: the queue for the guest’s buffers is reset alone`, (t) => {
    const fixture = vsockFixture(transport);
    const { driver, streams } = fixture;
    driver.bringUp();
    const end = guestConnects(fixture);
    driver.registers.resetQueue(RX);
    streams.write(end, 'meanwhile');
    driver.setUpQueue(RX);
    driver.giveBuffers(4);
    driver.core.poll();
    t.is(received(driver.takePackets()), 'meanwhile');
  });

  test(`${transport}: the guest is told that all connections are gone`, (t) => {
    const fixture = vsockFixture(transport);
    const { driver, device, streams } = fixture;
    device.transportReset();
    driver.bringUp();
    const end = guestConnects(fixture);
    device.transportReset();
    t.true(end.closedByDevice);
    t.true(allGone(fixture));
    t.true(streams.running);
    const address = driver.allocate(4);
    driver.memory.write(address, Uint8Array.of(1, 1, 1, 1));
    const head = driver.ring(EVENT).add([{ address, length: 4, writable: true }]);
    driver.core.poll();
    t.deepEqual(driver.ring(EVENT).collect(), [{ head, length: 4 }]);
    t.deepEqual(driver.memory.read(address, 4), new Uint8Array(4));
    driver.ring(EVENT).add([{ address, length: 4, writable: true }]);
    t.false(driver.core.poll(), 'told once');
    device.transportReset();
    t.is(driver.ring(EVENT).collect().length, 1, 'at once where there is a buffer');
    hostConnects(fixture);
  });
}

test('where nobody waits, the guest is refused', (t) => {
  const fixture = up();
  const { driver } = fixture;
  driver.sendNow({ ...PORTS, operation: Op.Request });
  t.like(driver.takePackets()[0], {
    operation: Op.Reset,
    sourcePort: 52,
    destinationPort: 1025,
    sourceCid: 2,
    destinationCid: GUEST_CID,
    type: 1,
    length: 0,
  });
  t.true(allGone(fixture));
});

test('the guest’s buffer is never overrun, and it is asked once for more room', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  const end = guestConnects(fixture, PORTS, 1000);
  streams.write(end, Buffer.alloc(2500, 'a'));
  let packets = driver.takePackets();
  t.deepEqual(
    packets.map(({ operation, length }) => [operation, length]),
    [
      [Op.Data, 1000],
      [Op.CreditRequest, 0],
    ],
  );
  driver.sendNow({ ...PORTS, operation: Op.CreditUpdate, bufferSize: 1000, forwarded: 0 });
  t.deepEqual(driver.takePackets(), [], 'it is not asked again before it has given some');
  driver.sendNow({ ...PORTS, operation: Op.CreditUpdate, bufferSize: 1000, forwarded: 300 });
  packets = driver.takePackets();
  t.deepEqual(
    packets.map(({ operation, length }) => [operation, length]),
    [
      [Op.Data, 300],
      [Op.CreditRequest, 0],
    ],
  );
  // A buffer that shrinks, and counts that make no sense.
  driver.sendNow({ ...PORTS, operation: Op.CreditUpdate, bufferSize: 10, forwarded: 900 });
  driver.sendNow({ ...PORTS, operation: Op.CreditUpdate, bufferSize: 1000, forwarded: 5000 });
  t.deepEqual(driver.takePackets(), []);
  driver.sendNow({ ...PORTS, operation: Op.CreditUpdate, bufferSize: 0xffff_ffff, forwarded: 1300 });
  t.is(received(driver.takePackets()).length, 1200);
});

test('the guest learns in time that there is room again', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  const end = guestConnects(fixture);
  let sent = 0;
  const updates: number[] = [];
  while (sent < 4 * BUFFER) {
    const told = updates.at(-1) ?? 0;
    t.true(sent - told <= BUFFER - 4096, 'there is always room for a packet');
    driver.sendNow({ ...PORTS, operation: Op.Data, data: Buffer.alloc(4096, sent / 4096) });
    sent += 4096;
    for (const { operation, forwarded } of driver.takePackets()) {
      t.is(operation, Op.CreditUpdate);
      updates.push(forwarded);
    }
  }
  t.is(end.fromGuest.length, sent);
  t.true(updates.length >= 7 && updates.length <= 9, 'but not for each packet');
  streams.appetite = 0;
  end.appetite = 0;
  driver.sendNow({ ...PORTS, operation: Op.CreditRequest });
  t.like(driver.takePackets()[0], { operation: Op.CreditUpdate, forwarded: sent, bufferSize: BUFFER });
  driver.sendNow({ ...PORTS, operation: Op.Data, data: Buffer.alloc(BUFFER) });
  t.deepEqual(driver.takePackets(), []);
  streams.read(end, 1);
  t.like(driver.takePackets()[0], { operation: Op.CreditUpdate, forwarded: sent + 1 });
});

test('a guest that sends more than it may is disconnected', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  streams.appetite = 0;
  const end = guestConnects(fixture);
  driver.send({ ...PORTS, operation: Op.Data, data: Buffer.alloc(BUFFER) });
  driver.send({ ...PORTS, operation: Op.Data, data: Buffer.alloc(1) });
  driver.core.poll();
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(end.closedByDevice);
  t.true(allGone(fixture));
});

test('packets that belong to nothing', (t) => {
  const fixture = up();
  const { driver } = fixture;
  for (const operation of [Op.Response, Op.Shutdown, Op.Data, Op.CreditUpdate, Op.CreditRequest, 0, 8, 0xffff]) {
    driver.sendNow({ ...PORTS, operation });
    t.like(driver.takePackets()[0], { operation: Op.Reset, sourcePort: 52, destinationPort: 1025 }, `${operation}`);
  }
  driver.sendNow({ ...PORTS, operation: Op.Reset });
  driver.sendNow({ ...PORTS, operation: Op.Reset, type: 2 });
  t.deepEqual(driver.takePackets(), [], 'a reset is not answered');
  for (const type of [0, 2, 3, 0xffff]) {
    driver.sendNow({ ...PORTS, operation: Op.Request, type });
    t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  }
  for (const cids of [{ destinationCid: 3 }, { destinationCid: 2 ** 32 + 2 }, { sourceCid: 43 }, { sourceCid: 2 }]) {
    driver.sendNow({ ...PORTS, operation: Op.Request, ...cids });
    t.deepEqual(driver.takePackets(), [], 'and for others, nobody answers');
  }
  t.true(allGone(fixture));
});

test('packets that make no sense on a connection', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  const end = guestConnects(fixture);
  for (const operation of [Op.Request, Op.Response, 0, 8, 0xffff]) driver.sendNow({ ...PORTS, operation });
  driver.sendNow({ ...PORTS, operation: Op.Data });
  driver.sendNow({ ...PORTS, operation: Op.Shutdown, flags: 0xffff_fffc });
  driver.sendNow({ ...PORTS, operation: Op.CreditUpdate, length: 0xffff });
  t.deepEqual(driver.takePackets(), []);
  t.false(end.closedByDevice);
  const asked = streams.connectToGuest(80);
  const [request] = driver.takePackets();
  const ports = { sourcePort: 80, destinationPort: request!.sourcePort };
  driver.sendNow({ ...ports, operation: Op.Data, data: Buffer.from('too early') });
  driver.sendNow({ ...ports, operation: Op.CreditRequest });
  driver.sendNow({ ...ports, operation: Op.Shutdown, flags: SEND });
  t.deepEqual(driver.takePackets(), []);
  t.is(asked.fromGuest.length, 0);
  driver.sendNow({ ...PORTS, operation: Op.Data, type: 2, data: Buffer.from('x') });
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(end.closedByDevice);
});

test('more connections than there may be', (t) => {
  const fixture = up();
  const { driver, streams, device } = fixture;
  streams.ports.set(52, true);
  for (let sourcePort = 0; sourcePort < vsock.MAX_CONNECTIONS; sourcePort++) {
    driver.sendNow({ sourcePort, destinationPort: 52, operation: Op.Request });
    t.deepEqual(operations(driver), [[Op.Response, 0]]);
  }
  t.is(device.connections, vsock.MAX_CONNECTIONS);
  driver.sendNow({ sourcePort: 5000, destinationPort: 52, operation: Op.Request });
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(streams.connectToGuest(80).closedByDevice);
  for (const end of streams.ends.slice(0, vsock.MAX_CONNECTIONS)) streams.write(end, `for stream ${end.stream}`);
  const seen = new Map<number, string>();
  for (let packets = driver.takePackets(); packets.length > 0; packets = driver.takePackets()) {
    for (const { destinationPort, data } of packets) seen.set(destinationPort, data.toString());
    driver.core.poll();
  }
  t.is(seen.size, vsock.MAX_CONNECTIONS);
  for (const [port, text] of seen) t.is(text, `for stream ${port}`);
  driver.sendNow({ sourcePort: 7, destinationPort: 52, operation: Op.Reset });
  driver.sendNow({ sourcePort: 5000, destinationPort: 52, operation: Op.Request });
  t.deepEqual(operations(driver), [[Op.Response, 0]]);
});

test('all with something to say are served, one after the other', (t) => {
  const fixture = up(4);
  const { driver, streams } = fixture;
  const ends = [1, 2, 3].map((sourcePort) => guestConnects(fixture, { sourcePort, destinationPort: 52 }));
  streams.write(ends[0]!, Buffer.alloc(200_000));
  streams.write(ends[1]!, 'short');
  streams.write(ends[2]!, 'brief');
  const order: number[] = [];
  for (let i = 0; i < 12; i++) {
    order.push(...driver.takePackets().map(({ destinationPort }) => destinationPort));
    driver.core.poll();
  }
  // The first had all buffers while it was alone, and again as it was first in line.
  t.deepEqual(order.slice(8, 10), [2, 3]);
  t.is(order.filter((port) => port === 1).length, order.length - 2);
});

test('without buffers of the guest nothing is lost, and its packets wait once too many are to be answered', (t) => {
  const fixture = up(0);
  const { driver, streams } = fixture;
  streams.ports.set(52, true);
  driver.sendNow({ ...PORTS, operation: Op.Request });
  streams.write(streams.ends[0]!, 'patience');
  let sent = 0;
  for (; sent < 400 && driver.freeTxDescriptors > 0; sent++) {
    driver.send({ sourcePort: 5000 + sent, destinationPort: 99, operation: Op.Data });
    while (driver.core.poll());
  }
  t.is(sent, 256 + 64, 'as many as can be answered, and a full queue');
  t.false(driver.core.poll(), 'until there are buffers');
  const packets: Packet[] = [];
  for (let i = 0; i < 45; i++) {
    driver.giveBuffers(8);
    while (driver.core.poll());
    packets.push(...driver.takePackets(false));
  }
  t.is(packets.filter(({ operation }) => operation === Op.Reset).length, sent);
  t.is(packets.filter(({ operation }) => operation === Op.Response).length, 1);
  t.is(received(packets), 'patience');
});

test('an idle device is not looked at, whatever buffers it holds', (t) => {
  const fixture = up(32);
  const { driver, streams } = fixture;
  driver.ring(EVENT).add([{ address: driver.allocate(4), length: 4, writable: true }]);
  t.false(driver.core.poll());
  t.false(driver.core.listen());
  const end = guestConnects(fixture);
  streams.write(end, 'x');
  driver.core.poll();
  t.false(driver.core.poll());
  t.false(driver.core.listen());
});

const FAULTS: Record<string, (driver: VsockDriver) => void> = {
  'a packet without a whole header': (driver) =>
    void driver.ring(TX).add([{ address: 0x8000, length: 43, writable: false }]),
  'a packet with less data than it says': (driver) =>
    driver.send({ ...PORTS, operation: Op.Data, data: Buffer.from('four'), length: 5 }),
  'a packet that is to be written': (driver) =>
    void driver.ring(TX).add([{ address: 0x8000, length: 100, writable: true }]),
  'a buffer with no room for data': (driver) => {
    driver.ring(RX).add([{ address: 0x8000, length: 44, writable: true }]);
    driver.send({ ...PORTS, operation: Op.Data });
  },
};

for (const [name, act] of Object.entries(FAULTS)) {
  test(`hostile: ${name}`, (t) => {
    const fixture = up(0);
    const { driver } = fixture;
    act(driver);
    driver.core.poll();
    t.is(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET);
    driver.bringUp();
    guestConnects(fixture);
  });
}

test('an event buffer that is too small is a fault', (t) => {
  const { driver, device } = up();
  driver.ring(EVENT).add([{ address: 0x8000, length: 3, writable: true }]);
  device.transportReset();
  t.is(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET);
});
