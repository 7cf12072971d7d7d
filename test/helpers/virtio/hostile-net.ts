import { HEADER_SIZE } from '../../../devices/virtio/net/constants.ts';
import { NetDevice } from '../../../devices/virtio/net/net.ts';
import type { TransportName } from './driver.ts';
import { HostileDevice, type HostileSubject, headerPlace, hostileMemory } from './hostile-device.ts';
import { anyLimits, TestLimiter } from './hostile-limiter.ts';
import { MERGING, NetDriver, SOME_OFFLOADS } from './net-driver.ts';
import { below, onceIn, pick, type Tape } from './tape.ts';
import { Wire } from './wire.ts';

const UNLIMITED = { bandwidth: undefined, ops: undefined };
const OFFLOADS = [0, 1, 7, 11];

/** `struct virtio_net_hdr_v1` as a driver might write it, or nearly. */
function anyHeader(tape: Tape): Uint8Array {
  const header = new DataView(new ArrayBuffer(HEADER_SIZE));
  header.setUint8(0, pick(tape, [0, 1, 1, 1, 3, 0xff]));
  header.setUint8(1, pick(tape, [0, 0, 1, 1, 3, 4, 5, 0x81, 0xff]));
  for (let at = 2; at < HEADER_SIZE; at += 2)
    header.setUint16(at, pick(tape, [0, 14, 34, 54, 1448, tape.next() & 0xffff]), true);
  return new Uint8Array(header.buffer);
}

/** A hostile guest with a network, whose host end takes frames at its own pace. The wire throws where the device asks for nonsense. */
export function hostileNet(transport: TransportName): HostileDevice {
  const memory = hostileMemory();
  const wire = new Wire(memory, { features: SOME_OFFLOADS, batch: 8 });
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const [receive, transmit] = [new TestLimiter(UNLIMITED), new TestLimiter(UNLIMITED)];
  const limiters = { receiveLimiter: receive.limiter, transmitLimiter: transmit.limiter };
  const device = new NetDevice(wire, { id: 'fuzzed', mac, mtu: 1500, ...limiters });
  const driver = new NetDriver(transport, device, memory);
  const subject: HostileSubject = {
    driver,
    features: [...MERGING, ...OFFLOADS],
    writable: [true, false],
    happen(tape) {
      for (let i = below(tape, 8); i > 0; i--) memory.write(headerPlace(tape), anyHeader(tape));
      if (onceIn(tape, 4)) wire.credit = pick(tape, [0, 1, 5, Number.POSITIVE_INFINITY]);
      if (onceIn(tape, 3)) wire.listener?.writable();
      if (onceIn(tape, 32)) {
        wire.linkUp = !wire.linkUp;
        wire.listener?.linkChanged();
      }
      if (wire.waiting.length > 40) wire.waiting.splice(0, 30);
      for (let i = below(tape, 6); i > 0; i--) {
        const length = pick(tape, [1, 14, 60, 60, 1500, 4000, 65_550]);
        const header = new Uint8Array(12);
        if (onceIn(tape, 3)) header.set([below(tape, 4), pick(tape, [0, 1, 1, 4, 0x81, 0xff])]);
        const bytes = new Uint8Array(length).fill(length & 0xff);
        wire.waiting.push(onceIn(tape, 16) ? 5 : { header, bytes });
      }
      wire.listener?.receive();
      const limited = pick(tape, [receive, transmit]);
      if (onceIn(tape, 32)) limited.limiter.update(anyLimits(tape));
      limited.advance(pick(tape, [0, 1, 100, 2000]));
      // What nobody looks at.
      wire.sent.length = 0;
    },
    use() {
      wire.arrive(new Uint8Array(60));
    },
    proveAlive() {
      wire.waiting.length = 0;
      wire.sent.length = 0;
      for (const { limiter } of [receive, transmit]) limiter.update(UNLIMITED);
      wire.credit = Number.POSITIVE_INFINITY;
      wire.listener?.writable();
      driver.post(8, 1526);
      const bytes = new Uint8Array(3000).fill(0xa5);
      wire.arrive(bytes);
      const [frame] = driver.received();
      if (frame === undefined || Buffer.compare(frame.bytes, bytes) !== 0) throw new Error('no frame comes in');
      driver.send(bytes.subarray(0, 100));
      driver.core.poll();
      if (wire.sent.length !== 1 || driver.sent().length !== 1) throw new Error('no frame goes out');
    },
  };
  return new HostileDevice(subject);
}
