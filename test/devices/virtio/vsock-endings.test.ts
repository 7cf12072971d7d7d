import test from 'ava';
import { CONNECTION_BUFFER_SIZE, CONNECTION_TIMEOUT_MS } from '../../../devices/virtio/vsock/constants.ts';
import {
  allGone,
  BOTH,
  guestConnects,
  hostConnects,
  Op,
  operations,
  PORTS,
  RCV,
  received,
  SEND,
  up,
} from '../../helpers/virtio/vsock-driver.ts';

// How connections begin late or not at all, and all the ways in which they end.

test('a host that accepts late, or not at all', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  streams.ports.set(52, false);
  driver.sendNow({ ...PORTS, operation: Op.Request });
  t.deepEqual(driver.takePackets(), []);
  streams.accept(streams.ends[0]!);
  t.deepEqual(operations(driver), [[Op.Response, 0]]);
  driver.sendNow({ sourcePort: 9, destinationPort: 52, operation: Op.Request });
  streams.refuse(streams.ends[1]!);
  const [packet] = driver.takePackets();
  t.like(packet, { operation: Op.Reset, destinationPort: 9 });
  driver.sendNow({ sourcePort: 10, destinationPort: 52, operation: Op.Request });
  driver.sendNow({ sourcePort: 10, destinationPort: 52, operation: Op.Reset });
  t.true(streams.ends[2]!.closedByDevice);
  driver.sendNow({ sourcePort: 11, destinationPort: 52, operation: Op.Request });
  driver.sendNow({ sourcePort: 11, destinationPort: 52, operation: Op.Shutdown, flags: BOTH });
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(streams.ends[3]!.closedByDevice);
});

test('a guest that refuses, or does not answer in time', (t) => {
  const fixture = up();
  const { driver, streams, clock, device } = fixture;
  const refused = streams.connectToGuest(80);
  const [request] = driver.takePackets();
  driver.sendNow({ sourcePort: 80, destinationPort: request!.sourcePort, operation: Op.Reset });
  t.true(refused.closedByDevice);
  t.is(refused.acknowledged, undefined);
  const silent = streams.connectToGuest(81);
  t.is(streams.timer, CONNECTION_TIMEOUT_MS);
  clock.now += 1500;
  const later = streams.connectToGuest(82);
  clock.now += 500;
  streams.expire();
  t.deepEqual(
    driver.takePackets().map(({ operation, destinationPort }) => [operation, destinationPort]),
    [
      [Op.Request, 81],
      [Op.Request, 82],
      [Op.Reset, 81],
    ],
  );
  t.true(silent.closedByDevice);
  t.false(later.closedByDevice);
  t.is(streams.timer, 1500);
  driver.sendNow({ sourcePort: 82, destinationPort: 2 ** 30 + 2, operation: Op.Response });
  clock.now += 5000;
  streams.expire();
  t.false(later.closedByDevice, 'an established connection has no time limit');
  t.is(streams.timer, undefined);
  t.is(device.metrics.conns_killed, 1);
  t.is(device.metrics.conns_removed, 2);
});

test('half-close by the guest: the host sees the end, and goes on sending', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  const end = guestConnects(fixture);
  driver.send({ ...PORTS, operation: Op.Data, data: Buffer.from('question') });
  driver.send({ ...PORTS, operation: Op.Shutdown, flags: SEND });
  driver.core.poll();
  t.is(end.fromGuest.toString(), 'question');
  t.true(end.endOfInput);
  t.false(end.deafGuest);
  streams.write(end, 'answer');
  t.is(received(driver.takePackets()), 'answer');
  driver.sendNow({ ...PORTS, operation: Op.Data, data: Buffer.from('more') });
  t.is(end.fromGuest.toString(), 'question', 'it has promised not to');
  streams.closeHost(end);
  t.deepEqual(operations(driver), [[Op.Shutdown, BOTH]]);
  driver.sendNow({ ...PORTS, operation: Op.Reset });
  t.true(allGone(fixture));
});

test('half-close by the guest waits for a host that reads slowly', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  streams.appetite = 3;
  const end = guestConnects(fixture);
  driver.send({ ...PORTS, operation: Op.Data, data: Buffer.from('slowly') });
  driver.send({ ...PORTS, operation: Op.Shutdown, flags: SEND });
  driver.core.poll();
  t.is(end.fromGuest.toString(), 'slo');
  t.false(end.endOfInput);
  streams.read(end);
  t.is(end.fromGuest.toString(), 'slowly');
  t.true(end.endOfInput);
});

test('a guest that receives no more', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  const end = guestConnects(fixture);
  driver.sendNow({ ...PORTS, operation: Op.Shutdown, flags: RCV });
  t.true(end.deafGuest);
  t.false(end.endOfInput);
  streams.write(end, 'unheard');
  t.deepEqual(driver.takePackets(), []);
  driver.sendNow({ ...PORTS, operation: Op.Data, data: Buffer.from('still sending') });
  t.is(end.fromGuest.toString(), 'still sending');
  driver.sendNow({ ...PORTS, operation: Op.Shutdown, flags: SEND });
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(allGone(fixture));
});

test('half-close by the host: the guest sees the end, and goes on sending', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  const { end, ports } = hostConnects(fixture);
  streams.write(end, 'question');
  streams.endWriting(end);
  const packets = driver.takePackets();
  t.is(received(packets), 'question');
  t.like(packets.at(-1), { operation: Op.Shutdown, flags: SEND });
  driver.sendNow({ ...ports, operation: Op.Data, data: Buffer.from('answer') });
  t.is(end.fromGuest.toString(), 'answer');
  driver.sendNow({ ...ports, operation: Op.Shutdown, flags: BOTH });
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(allGone(fixture));
});

test('a host that closes after half-close', (t) => {
  const fixture = up();
  const { driver, streams } = fixture;
  const end = guestConnects(fixture);
  streams.endWriting(end);
  t.deepEqual(operations(driver), [[Op.Shutdown, SEND]]);
  streams.closeHost(end);
  t.deepEqual(operations(driver), [[Op.Shutdown, BOTH]]);
  driver.sendNow({ ...PORTS, operation: Op.Reset });
  t.true(allGone(fixture));
});

test('a host that closes: the guest gets all of the data first', (t) => {
  const fixture = up(2);
  const { driver, streams } = fixture;
  const end = guestConnects(fixture);
  streams.write(end, Buffer.alloc(20_000, 'x'));
  streams.closeHost(end);
  let data = '';
  const seen: [number, number][] = [];
  for (let packets = driver.takePackets(); packets.length > 0; packets = driver.takePackets()) {
    data += received(packets);
    seen.push(...packets.map(({ operation, flags }): [number, number] => [operation, flags]));
    driver.core.poll();
  }
  t.is(data, 'x'.repeat(20_000));
  t.deepEqual(seen.at(-1), [Op.Shutdown, BOTH]);
  driver.sendNow({ ...PORTS, operation: Op.Reset });
  t.true(allGone(fixture));
});

test('a guest that does not answer a shutdown in time', (t) => {
  const fixture = up();
  const { driver, streams, clock, device } = fixture;
  const end = guestConnects(fixture);
  streams.closeHost(end);
  t.deepEqual(operations(driver), [[Op.Shutdown, BOTH]]);
  t.is(device.connections, 1);
  clock.now += CONNECTION_TIMEOUT_MS;
  streams.expire();
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(allGone(fixture));
});

test('a guest that closes: the host gets all of the data, and has time for it', (t) => {
  const fixture = up();
  const { driver, streams, clock } = fixture;
  streams.appetite = 0;
  const ends = [1, 2].map((sourcePort) => guestConnects(fixture, { sourcePort, destinationPort: 52 }));
  for (const sourcePort of [1, 2]) {
    driver.send({ sourcePort, destinationPort: 52, operation: Op.Data, data: Buffer.from('last words') });
    driver.send({ sourcePort, destinationPort: 52, operation: Op.Shutdown, flags: BOTH });
  }
  driver.core.poll();
  t.deepEqual(driver.takePackets(), []);
  t.is(streams.timer, CONNECTION_TIMEOUT_MS);
  streams.read(ends[0]!);
  t.is(ends[0]!.fromGuest.toString(), 'last words');
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(ends[0]!.closedByDevice);
  clock.now += CONNECTION_TIMEOUT_MS;
  streams.expire();
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(allGone(fixture));
});

test('a host that closes without having read everything', (t) => {
  const fixture = up();
  const { driver, streams, device } = fixture;
  const end = guestConnects(fixture);
  streams.resetHost(end);
  t.deepEqual(operations(driver), [[Op.Reset, 0]]);
  t.true(allGone(fixture));
  t.is(device.metrics.rx_read_fails, 1);
  t.is(device.metrics.conns_killed, 1);
});

test('a host that receives no more goes on sending', (t) => {
  const fixture = up();
  const { driver, streams, device } = fixture;
  const end = guestConnects(fixture);
  streams.endReading(end);
  driver.sendNow({ ...PORTS, operation: Op.Data, data: Buffer.alloc(CONNECTION_BUFFER_SIZE) });
  t.deepEqual(operations(driver), [[Op.Shutdown, RCV]]);
  t.is(device.metrics.tx_write_fails, 1);
  for (let i = 0; i < 3; i++)
    driver.sendNow({ ...PORTS, operation: Op.Data, data: Buffer.alloc(CONNECTION_BUFFER_SIZE) });
  t.true(operations(driver).every(([operation]) => operation === Op.CreditUpdate));
  streams.write(end, 'but this');
  t.is(received(driver.takePackets()), 'but this');
  streams.endWriting(end);
  t.deepEqual(operations(driver), [[Op.Shutdown, BOTH]]);
});
