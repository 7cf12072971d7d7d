import { VIRTIO_CONFIG_S_NEEDS_RESET } from '../../../devices/virtio/constants.ts';
import { CONNECTION_BUFFER_SIZE, MAX_CONNECTIONS } from '../../../devices/virtio/vsock/constants.ts';
import { VsockDevice } from '../../../devices/virtio/vsock/vsock.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import type { TransportName } from './driver.ts';
import { type HostEnd, MemoryStreams } from './memory-streams.ts';
import { GuestAllocator } from './ring.ts';
import { below, onceIn, pick, type Tape } from './tape.ts';
import { EVENT, GUEST_CID, headerBytes, Op, parsePacket, RX, TX, VsockDriver } from './vsock-driver.ts';

/** Bytes before and behind guest memory in its buffer, which nobody may touch. */
const MARGIN = 4096;
const CANARY = 0x5a;
const MEMORY_SIZE = 1 << 20;
/** Where packets are made, and where they arrive. */
const OUTGOING = 0x2_0000;
const INCOMING = 0x8_0000;
const HONEST = 0xc_0000;

const PORTS = [1, 2, 3, 52, 80, 0, 0xffff_ffff, 0x4000_0000, 0x4000_0001, 0x4000_0002, 0x4000_0003];
const OPERATIONS = [1, 1, 1, 2, 2, 2, 2, 3, 4, 4, 5, 5, 5, 5, 5, 6, 7, 0, 8, 0xffff];
const LENGTHS = [0, 1, 2, 44, 100, 4096, 0x1_0000];
const CREDITS = [0, 1, 100, 4096, 0x1_0000, 0xffff_ffff];
const MAX_HOST_ENDS = 40;

/** A guest and a host that do what a tape says to one vsock device. What they find wrong is thrown. */
export class HostileSockets {
  readonly streams = new MemoryStreams();
  readonly device: VsockDevice;
  readonly driver: VsockDriver;
  readonly memory: GuestMemory;
  readonly counts = { packets: 0, received: 0, connections: 0, faults: 0, steps: 0 };
  #now = 0;
  /** Ports of connections that were asked for by either side: guest's, host's. */
  #pairs: [number, number][] = [];
  /** Where packets arrive, by head. */
  readonly #places = new Map<number, number>();
  /** Something about a chain or header is wrong once in so many times. */
  #rarity = 64;

  constructor(transport: TransportName) {
    const buffer = new SharedArrayBuffer(MEMORY_SIZE + 2 * MARGIN);
    new Uint8Array(buffer).fill(CANARY);
    this.memory = new GuestMemory(buffer, MARGIN, MEMORY_SIZE);
    this.device = new VsockDevice(GUEST_CID, this.streams, () => this.#now);
    this.driver = new VsockDriver(transport, this.device, this.memory);
  }

  /** Does what the tape says, up to `steps` things or its end, then proves that the device still works. */
  run(tape: Tape, steps: number): void {
    this.#start(tape);
    for (let i = 0; i < steps && !tape.ended; i++) {
      this.counts.steps++;
      this.#step(tape);
      this.#check();
    }
    this.proveAlive();
  }

  /** Resets the device as an honest driver does, and talks through a connection. */
  proveAlive(): void {
    const { driver, streams } = this;
    this.counts.faults += driver.core.faults.count;
    driver.core.faults.count = 0;
    driver.allocator = new GuestAllocator(HONEST);
    // Rings begin empty.
    this.memory.bytes.fill(0, MARGIN + HONEST, MARGIN + MEMORY_SIZE);
    streams.appetite = Number.POSITIVE_INFINITY;
    driver.bufferLengths = [44 + 1000];
    driver.bringUp(4);
    if (this.device.connections !== 0 || streams.openStreams !== 0) throw new Error('something outlived a reset');
    streams.ports.set(52, true);
    const ports = { sourcePort: 7777, destinationPort: 52 };
    driver.sendNow({ ...ports, operation: Op.Request });
    const end = streams.ends.at(-1)!;
    driver.sendNow({ ...ports, operation: Op.Data, data: Buffer.from('to the host') });
    streams.write(end, 'to the guest');
    const packets = driver.takePackets();
    const data = packets.map((packet) => packet.data.toString()).join('');
    if (end.fromGuest.toString() !== 'to the host' || data !== 'to the guest') throw new Error('it works no more');
    this.#check();
    streams.ends.length = 0;
  }

  #start(tape: Tape): void {
    const { driver, streams } = this;
    this.counts.faults += driver.core.faults.count;
    driver.core.faults.count = 0;
    this.#rarity = pick(tape, [30, 1000, 10_000]);
    streams.capacity = 16;
    streams.appetite = pick(tape, [0, 100, 10_000, Number.POSITIVE_INFINITY]);
    streams.ports.clear();
    for (const port of PORTS) if (onceIn(tape, 2)) streams.ports.set(port, !onceIn(tape, 4));
    driver.allocator = new GuestAllocator(0x1000);
    driver.bufferLengths = [64];
    this.memory.bytes.fill(0, MARGIN + 0x1000, MARGIN + OUTGOING);
    driver.start({ queueSize: 1 << (1 + below(tape, 7)), features: onceIn(tape, 2) ? [28, 29, 40] : [40] });
    streams.ends.length = 0;
    this.#pairs = [];
    this.#places.clear();
  }

  #step(tape: Tape): void {
    const { driver, streams, device } = this;
    switch (below(tape, 24)) {
      case 0:
        if (streams.running && streams.ends.length < MAX_HOST_ENDS) streams.connectToGuest(pick(tape, PORTS));
        break;
      case 1:
      case 2:
        this.#withEnd(tape, (end) => streams.write(end, Buffer.alloc(pick(tape, LENGTHS), 'h')));
        break;
      case 3:
        this.#withEnd(tape, (end) => streams.read(end, pick(tape, LENGTHS)));
        break;
      case 4:
        this.#withEnd(tape, (end) => this.#hostActs(tape, end));
        break;
      case 5:
        this.#now += pick(tape, [1, 100, 1000, 2000, 5000]);
        if (streams.timer !== undefined) streams.expire();
        break;
      case 6:
        if (onceIn(tape, 16)) device.transportReset();
        break;
      case 7:
        if (onceIn(tape, 16)) {
          const queue = below(tape, 3);
          driver.registers.resetQueue(queue);
          if (!onceIn(tape, 4)) driver.setUpQueue(queue, 1 << below(tape, 7));
        }
        break;
      case 8:
        if (onceIn(tape, 64)) this.#start(tape);
        break;
      case 9:
        if (onceIn(tape, 8)) this.#poke(tape);
        break;
      case 10:
        driver.core.listen();
        if (onceIn(tape, 2)) driver.core.ignore();
        break;
      case 11:
        driver.registers.notify(pick(tape, [RX, TX, EVENT, 3, 0xffff]));
        break;
      case 12:
        if (onceIn(tape, 4)) this.#offer(EVENT, INCOMING, pick(tape, [3, 4, 4, 4, 8]), true);
        break;
      case 13:
      case 14:
      case 15:
      case 16:
        for (let i = below(tape, 4); i >= 0; i--) this.#giveBuffer(tape);
        break;
      default:
        for (let i = below(tape, 3); i >= 0; i--) this.#sendPacket(tape);
    }
    this.#poll();
    this.#receive();
    if ((driver.core.status & VIRTIO_CONFIG_S_NEEDS_RESET) !== 0 && !onceIn(tape, 4)) this.#start(tape);
  }

  #hostActs(tape: Tape, end: HostEnd): void {
    const { streams } = this;
    if (!end.open) {
      if (onceIn(tape, 2)) streams.accept(end);
      else streams.refuse(end);
      return;
    }
    switch (below(tape, 4)) {
      case 0:
        streams.endWriting(end);
        break;
      case 1:
        streams.endReading(end);
        break;
      case 2:
        streams.closeHost(end);
        break;
      default:
        streams.resetHost(end);
    }
  }

  #withEnd(tape: Tape, act: (end: HostEnd) => void): void {
    const ends = this.streams.ends.filter(({ closedByDevice }) => !closedByDevice);
    if (ends.length > 0) act(pick(tape, ends));
  }

  /** Looks at the rings until nothing is found: a device that goes on for ever is at fault itself. */
  #poll(): void {
    for (let looks = 0; this.driver.core.poll(); looks++) {
      if (looks > 10_000) throw new Error('the device does not come to an end');
    }
  }

  /** Looks at what has arrived: each packet must be one that a driver can understand. */
  #receive(): void {
    const ring = this.driver.rings[RX];
    if (ring === undefined || (this.driver.core.status & VIRTIO_CONFIG_S_NEEDS_RESET) !== 0) return;
    for (const { head, length } of ring.collect()) {
      this.counts.received++;
      if (length < 44 || length > 44 + 0x1_0000) throw new Error(`a packet of ${length} bytes`);
      const place = this.#places.get(head);
      if (place === undefined) continue;
      const packet = parsePacket(Buffer.from(this.memory.read(place, 44)));
      if (packet.operation === Op.Request) this.#pairs.push([packet.destinationPort, packet.sourcePort]);
    }
  }

  #check(): void {
    const { bytes } = this.memory;
    for (let i = 0; i < MARGIN; i += 7) {
      if (bytes[i] !== CANARY || bytes[MARGIN + MEMORY_SIZE + i] !== CANARY)
        throw new Error('memory outside the guest');
    }
    const { connections } = this.device;
    this.counts.connections = Math.max(this.counts.connections, connections);
    if (connections > MAX_CONNECTIONS) throw new Error('too many connections');
    if (this.streams.openStreams > connections) throw new Error('a stream that belongs to nobody');
    for (const { kept, closedByDevice } of this.streams.ends) {
      if (!closedByDevice && kept.length > CONNECTION_BUFFER_SIZE)
        throw new Error('more is kept than there is room for');
    }
  }

  #giveBuffer(tape: Tape): void {
    const place = INCOMING + 0x1000 * below(tape, 32);
    if (this.#odd(tape)) this.#offer(RX, place, below(tape, 60) + 1, !this.#odd(tape));
    else if (onceIn(tape, 2)) {
      const head = this.#offer(RX, place, 44 + pick(tape, [1, 100, 4000]), true);
      if (head !== undefined) this.#places.set(head, place);
    } else this.#offerPieces(RX, place, [1 + below(tape, 60), 1 + below(tape, 60), 1 + below(tape, 500), 50], true);
  }

  /** A packet that is mostly as it should be. */
  #sendPacket(tape: Tape): void {
    this.counts.packets++;
    const operation = pick(tape, OPERATIONS);
    const known = this.#pairs.length > 0 && !onceIn(tape, 8) && operation !== Op.Request;
    const [guestPort, hostPort] = known ? pick(tape, this.#pairs) : [pick(tape, PORTS), pick(tape, PORTS)];
    if (operation === Op.Request && this.#pairs.length < 20) this.#pairs.push([guestPort, hostPort]);
    const length = operation === Op.Data ? pick(tape, LENGTHS) : 0;
    const header = headerBytes({
      sourceCid: this.#odd(tape) ? tape.next() : GUEST_CID,
      destinationCid: this.#odd(tape) ? tape.next() : 2,
      sourcePort: guestPort,
      destinationPort: hostPort,
      length: this.#odd(tape) ? tape.next() : length,
      type: this.#odd(tape) ? tape.next() & 0xffff : 1,
      operation,
      flags: this.#odd(tape) ? tape.next() : pick(tape, [0, 1, 2, 1, 2, 3]),
      bufferSize: pick(tape, CREDITS),
      forwarded: onceIn(tape, 4) ? tape.next() : 0,
    });
    const place = OUTGOING + 0x100 * below(tape, 64);
    this.memory.write(place, header);
    if (onceIn(tape, 4)) this.#offerPieces(TX, place, [1 + below(tape, 43), 44 + length], false);
    else this.#offer(TX, place, this.#odd(tape) ? 1 + below(tape, 100) : 44 + length, this.#odd(tape));
  }

  #offer(queue: number, address: number, length: number, writable: boolean): number | undefined {
    return this.#offerPieces(queue, address, [length], writable);
  }

  /** @returns the head, if there was room */
  #offerPieces(queue: number, address: number, lengths: readonly number[], writable: boolean): number | undefined {
    const ring = this.driver.rings[queue];
    if (ring === undefined) return undefined;
    if (queue === TX) ring.collect();
    if (ring.freeDescriptors < lengths.length) return undefined;
    let at = address;
    const buffers = lengths.map((length) => {
      const buffer = { address: at, length, writable };
      at += length;
      return buffer;
    });
    const head = ring.add(buffers);
    if (queue === RX) this.#places.delete(head);
    return head;
  }

  /** Changes a word of the rings, or of anything else. */
  #poke(tape: Tape): void {
    const place = this.driver.rings[below(tape, 3)]?.place;
    if (place === undefined) return;
    const address = pick(tape, [
      place.descriptors + (tape.next() % (16 * place.size)),
      place.available + (tape.next() % 8),
      tape.next() % MEMORY_SIZE,
    ]);
    const offset = this.memory.tryOffsetOf(address, 2);
    if (offset >= 0) this.memory.view.setUint16(offset, tape.next() & 0xffff, true);
  }

  #odd(tape: Tape): boolean {
    return onceIn(tape, this.#rarity);
  }
}
