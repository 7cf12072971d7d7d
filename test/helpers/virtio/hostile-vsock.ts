import { VsockDevice } from '../../../devices/virtio/vsock/vsock.ts';
import type { TransportName } from './driver.ts';
import { HostileDevice, headerPlace, hostileMemory } from './hostile-device.ts';
import { MemoryStreams } from './memory-streams.ts';
import { below, onceIn, pick } from './tape.ts';
import { GUEST_CID, headerBytes, Op, parsePacket, RX, TX, VsockDriver } from './vsock-driver.ts';

const PORTS = [1, 2, 52, 80, 0x4000_0000, 0x4000_0001];
const OPERATIONS = [1, 1, 2, 2, 3, 4, 5, 5, 5, 6, 7, 8];

/**
 * A hostile guest with a vsock device, and a host that does what it likes. Chains are nearly right as everywhere; `hostile-sockets.ts` has
 * chains that are right, and packets in them that are not.
 */
export function hostileVsock(transport: TransportName): HostileDevice {
  const memory = hostileMemory();
  const streams = new MemoryStreams();
  streams.ports.set(52, true);
  streams.ports.set(80, false);
  let now = 0;
  const device = new VsockDevice(GUEST_CID, streams, () => now);
  const driver = new VsockDriver(transport, device, memory);
  return new HostileDevice({
    driver,
    features: [28, 29, 0],
    writable: [true, false, true],
    happen(tape) {
      // Headers that make sense, where chains will be.
      for (let i = below(tape, 16); i > 0; i--) {
        const header = headerBytes({
          sourcePort: pick(tape, PORTS),
          destinationPort: pick(tape, PORTS),
          operation: pick(tape, OPERATIONS),
          length: below(tape, 600),
          flags: below(tape, 4),
          bufferSize: tape.next(),
        });
        memory.write(headerPlace(tape), header);
      }
      if (streams.running && streams.openStreams < 10) streams.connectToGuest(pick(tape, PORTS));
      const ends = streams.ends.filter(({ closedByDevice }) => !closedByDevice);
      if (ends.length > 0) {
        const end = pick(tape, ends);
        const mood = below(tape, 8);
        if (mood === 0) streams.closeHost(end);
        else if (mood === 1) streams.endWriting(end);
        else streams.write(end, Buffer.alloc(below(tape, 5000), 'h'));
      }
      if (streams.timer !== undefined && onceIn(tape, 8)) {
        now += 2000;
        streams.expire();
      }
      if (onceIn(tape, 64)) device.transportReset();
      streams.ends.splice(0, streams.ends.length, ...ends);
    },
    use() {
      device.transportReset();
      if (streams.running) streams.connectToGuest(1);
    },
    proveAlive() {
      if (streams.openStreams !== 0 || device.connections !== 0) throw new Error('something outlived a reset');
      const packets = () =>
        driver
          .ring(RX)
          .collect()
          .map(({ head, length }) => parsePacket(Buffer.from(memory.read(buffers.get(head)!, length))));
      const buffers = new Map<number, number>();
      for (let i = 0; i < 4; i++) {
        const address = driver.allocate(200);
        buffers.set(driver.ring(RX).add([{ address, length: 200, writable: true }]), address);
      }
      const send = (operation: number, data: string) => {
        const bytes = Buffer.from(data);
        const address = driver.allocate(44 + bytes.length);
        memory.write(address, headerBytes({ sourcePort: 9, destinationPort: 52, operation, data: bytes }));
        memory.write(address + 44, bytes);
        driver.ring(TX).add([{ address, length: 44 + bytes.length, writable: false }]);
        driver.core.poll();
      };
      send(Op.Request, '');
      const end = streams.ends.at(-1)!;
      send(Op.Data, 'to the host');
      streams.write(end, 'to the guest');
      const [response, data] = packets();
      if (response?.operation !== Op.Response || end.fromGuest.toString() !== 'to the host')
        throw new Error('no way out');
      if (data?.data.toString() !== 'to the guest') throw new Error('no way in');
      if (driver.ring(TX).collect().length !== 2) throw new Error('the device gave back other chains');
      streams.ends.length = 0;
    },
  });
}
