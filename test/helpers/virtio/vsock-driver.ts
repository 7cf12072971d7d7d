import { VsockDevice } from '../../../devices/virtio/vsock/vsock.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { Driver, type TransportName } from './driver.ts';
import { type HostEnd, MemoryStreams } from './memory-streams.ts';

export const GUEST_CID = 42;
export const RX = 0;
export const TX = 1;
export const EVENT = 2;

export const Op = { Request: 1, Response: 2, Reset: 3, Shutdown: 4, Data: 5, CreditUpdate: 6, CreditRequest: 7 };

/** A packet as it lies in guest memory. */
export interface Packet {
  readonly sourceCid: number;
  readonly destinationCid: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly length: number;
  readonly type: number;
  readonly operation: number;
  readonly flags: number;
  readonly bufferSize: number;
  readonly forwarded: number;
  readonly data: Buffer;
}

export function headerBytes(packet: Partial<Packet>): Buffer {
  const bytes = Buffer.alloc(44);
  bytes.writeBigUInt64LE(BigInt(packet.sourceCid ?? GUEST_CID), 0);
  bytes.writeBigUInt64LE(BigInt(packet.destinationCid ?? 2), 8);
  bytes.writeUInt32LE(packet.sourcePort ?? 0, 16);
  bytes.writeUInt32LE(packet.destinationPort ?? 0, 20);
  bytes.writeUInt32LE(packet.length ?? packet.data?.length ?? 0, 24);
  bytes.writeUInt16LE(packet.type ?? 1, 28);
  bytes.writeUInt16LE(packet.operation ?? 0, 30);
  bytes.writeUInt32LE(packet.flags ?? 0, 32);
  bytes.writeUInt32LE(packet.bufferSize ?? 0x1_0000, 36);
  bytes.writeUInt32LE(packet.forwarded ?? 0, 40);
  return bytes;
}

export function parsePacket(bytes: Buffer): Packet {
  return {
    sourceCid: Number(bytes.readBigUInt64LE(0)),
    destinationCid: Number(bytes.readBigUInt64LE(8)),
    sourcePort: bytes.readUInt32LE(16),
    destinationPort: bytes.readUInt32LE(20),
    length: bytes.readUInt32LE(24),
    type: bytes.readUInt16LE(28),
    operation: bytes.readUInt16LE(30),
    flags: bytes.readUInt32LE(32),
    bufferSize: bytes.readUInt32LE(36),
    forwarded: bytes.readUInt32LE(40),
    data: bytes.subarray(44),
  };
}

/** A guest's vsock driver at the level of packets. Buffers for packets to the guest are used again and again. */
export class VsockDriver extends Driver {
  readonly #lengths: number[] = [44 + 4096];
  readonly #buffers = new Map<number, { address: number; lengths: readonly number[] }>();
  readonly #txSpace: { address: number; size: number; head: number | undefined }[] = [];

  /** Lengths of the pieces that each buffer for packets to the guest consists of. */
  bufferLengths: readonly number[] = this.#lengths;

  /** Brings the device up with so many buffers for packets to the guest. */
  bringUp(buffers = 16): void {
    this.#buffers.clear();
    this.#txSpace.length = 0;
    this.start({ queueSize: 64, features: [28, 29, 40] });
    this.giveBuffers(buffers);
  }

  giveBuffers(count: number): void {
    for (let i = 0; i < count; i++) {
      const size = this.bufferLengths.reduce((sum, length) => sum + length, 0);
      this.#give(this.allocate(size + 64), this.bufferLengths);
    }
    this.core.poll();
  }

  /** Takes the packets that have arrived. @param again whether the buffers are given to the device again */
  takePackets(again = true): Packet[] {
    const used = this.ring(RX)
      .collect()
      .map(({ head, length }) => {
        const buffer = this.#buffers.get(head);
        if (buffer === undefined) throw new Error('a buffer that was not given');
        this.#buffers.delete(head);
        return { buffer, packet: parsePacket(this.#gather(buffer, length)) };
      });
    if (again) for (const { buffer } of used) this.#give(buffer.address, buffer.lengths);
    return used.map(({ packet }) => packet);
  }

  /** Sends a packet, without notifying. @param pieces lengths of its buffers; the last one takes what is left */
  send(packet: Partial<Packet>, pieces: readonly number[] = [44]): void {
    const bytes = Buffer.concat([headerBytes(packet), packet.data ?? Buffer.alloc(0)]);
    const address = this.#txBuffer(bytes.length);
    this.memory.write(address, bytes);
    const buffers: { address: number; length: number; writable: boolean }[] = [];
    let at = 0;
    for (const piece of pieces) {
      const length = Math.min(piece, bytes.length - at);
      if (length > 0) buffers.push({ address: address + at, length, writable: false });
      at += length;
    }
    if (at < bytes.length) buffers.push({ address: address + at, length: bytes.length - at, writable: false });
    const space = this.#txSpace.find((each) => each.address === address)!;
    space.head = this.ring(TX).add(buffers);
  }

  /** Sends a packet and lets the device deal with it. */
  sendNow(packet: Partial<Packet>): void {
    this.send(packet);
    this.core.poll();
  }

  get freeTxDescriptors(): number {
    this.#collectTx();
    return this.ring(TX).freeDescriptors;
  }

  #give(address: number, lengths: readonly number[]): void {
    const buffers = lengths.map((length, i) => {
      // A gap, so that pieces are not one.
      const before = lengths.slice(0, i).reduce((sum, each) => sum + each + 1, 0);
      return { address: address + before, length, writable: true };
    });
    this.#buffers.set(this.ring(RX).add(buffers), { address, lengths });
  }

  #gather(buffer: { address: number; lengths: readonly number[] }, length: number): Buffer {
    let at = buffer.address;
    const parts = buffer.lengths.map((size) => {
      const part = this.memory.read(at, size);
      at += size + 1;
      return part;
    });
    return Buffer.concat(parts).subarray(0, length);
  }

  #txBuffer(size: number): number {
    this.#collectTx();
    let space = this.#txSpace.find((each) => each.head === undefined && each.size >= size);
    if (space === undefined) {
      space = { address: this.allocate(size), size, head: undefined };
      this.#txSpace.push(space);
    }
    return space.address;
  }

  #collectTx(): void {
    for (const { head } of this.ring(TX).collect()) {
      const space = this.#txSpace.find((each) => each.head === head);
      if (space !== undefined) space.head = undefined;
    }
  }
}

export interface VsockFixture {
  readonly streams: MemoryStreams;
  readonly device: VsockDevice;
  readonly driver: VsockDriver;
  /** The device's clock, in milliseconds, which tests turn by hand. */
  readonly clock: { now: number };
}

/** A guest with a vsock device whose streams are in memory, not brought up. */
export function vsockFixture(transport: TransportName = 'mmio', memorySize = 16 << 20): VsockFixture {
  const streams = new MemoryStreams();
  const clock = { now: 1000 };
  const device = new VsockDevice(GUEST_CID, streams, () => clock.now);
  const driver = new VsockDriver(transport, device, GuestMemory.plain(memorySize));
  return { streams, device, driver, clock };
}

/** VIRTIO_VSOCK_SHUTDOWN_*: receive, or send, no more. */
export const RCV = 1;
export const SEND = 2;
export const BOTH = 3;

/** Ports of a connection that the guest asked for. */
export const PORTS = { sourcePort: 1025, destinationPort: 52 };

export function up(buffers = 16): VsockFixture {
  const fixture = vsockFixture();
  fixture.driver.bringUp(buffers);
  return fixture;
}

/** Operation and flags of each packet that has arrived. */
export function operations(driver: VsockDriver): [number, number][] {
  return driver.takePackets().map(({ operation, flags }) => [operation, flags]);
}

/** What a guest's socket would have received. */
export function received(packets: readonly Packet[]): string {
  return Buffer.concat(packets.filter(({ operation }) => operation === Op.Data).map(({ data }) => data)).toString();
}

/** The guest connects to a port where the host waits. */
export function guestConnects(
  { driver, streams }: VsockFixture,
  ports: { sourcePort: number; destinationPort: number } = PORTS,
  bufferSize = 0x1_0000,
): HostEnd {
  streams.ports.set(ports.destinationPort, true);
  driver.sendNow({ ...ports, operation: Op.Request, bufferSize });
  const answer = driver.takePackets();
  if (answer.length !== 1 || answer[0]!.operation !== Op.Response) throw new Error('not accepted');
  return streams.ends.at(-1)!;
}

/** The host connects to a port where the guest listens. */
export function hostConnects(fixture: VsockFixture, port = 80): { end: HostEnd; ports: typeof PORTS } {
  const { driver, streams } = fixture;
  const end = streams.connectToGuest(port);
  const [request] = driver.takePackets();
  if (request?.operation !== Op.Request) throw new Error('not asked');
  const ports = { sourcePort: port, destinationPort: request.sourcePort };
  driver.sendNow({ ...ports, operation: Op.Response });
  return { end, ports };
}

/** Whether there is neither connection nor stream. */
export function allGone({ device, streams }: VsockFixture): boolean {
  return device.connections === 0 && streams.openStreams === 0;
}
