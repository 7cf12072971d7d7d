/**
 * How many bytes of V8's heap a million packets take, sent and received: `node --expose-gc vsock-heap-use.ts mmio|pci [count] [depth]`.
 * Prints JSON; run by vsock-heap-use.test.ts. The driver's side and the host's streams write through views made beforehand, so that what
 * grows is the device's.
 */
import type { DescriptorChain } from '../../../devices/virtio/chain.ts';
import { VRING_DESC_F_WRITE } from '../../../devices/virtio/constants.ts';
import type { VsockBackend, VsockListener } from '../../../devices/virtio/vsock/backend.ts';
import { VsockHeader } from '../../../devices/virtio/vsock/constants.ts';
import { VsockDevice } from '../../../devices/virtio/vsock/vsock.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import type { TransportName } from '../../helpers/virtio/driver.ts';
import { GUEST_CID, headerBytes, Op, RX, TX, VsockDriver } from '../../helpers/virtio/vsock-driver.ts';

const transport = process.argv[2] as TransportName;
const wanted = Number(process.argv[3] ?? 1_000_000);
const depth = Number(process.argv[4] ?? 32);
const DATA = 1024;
const PACKET = VsockHeader.SIZE + DATA;

/** A stream that takes all that it is given, and gives as much as was announced. */
class Nowhere implements VsockBackend {
  listener: VsockListener | undefined;
  readonly capacity = 32;
  available = 0;
  #sent = 0;
  #reads = 0;
  readonly #results = new Int32Array(this.capacity);

  start(): void {}
  stop(): void {}
  connect(): number {
    return 0;
  }
  isOpen(): boolean {
    return true;
  }
  receive(_stream: number, chain: DescriptorChain, from: number, to: number): number {
    let room = 0;
    for (let i = from; i < to; i++) room += chain.lengths[i]!;
    const read = Math.min(room, this.available);
    this.available -= read;
    this.#results[this.#reads] = read === 0 ? -11 : read;
    return this.#reads++;
  }
  send(_stream: number, chain: DescriptorChain, from: number, to: number): void {
    for (let i = from; i < to; i++) this.#sent += chain.lengths[i]!;
  }
  submit(): void {
    this.#reads = 0;
    const sent = this.#sent;
    this.#sent = 0;
    if (sent > 0) this.listener?.forwarded(0, sent);
  }
  result(place: number): number {
    return this.#results[place]!;
  }
  acknowledge(): void {}
  endReceiving(): void {}
  endSending(): void {}
  close(): void {}
  setTimer(): void {}
}

const stream = new Nowhere();
const device = new VsockDevice(GUEST_CID, stream);
const driver = new VsockDriver(transport, device, GuestMemory.plain(4 << 20));
driver.start({ queueSize: 256, features: [28, 29] });
driver.bufferLengths = [PACKET];
driver.giveBuffers(1);
driver.sendNow({ sourcePort: 1, destinationPort: 2, operation: Op.Request, bufferSize: 0x1000_0000 });
driver.takePackets(false);

const { memory, core } = driver;
const { view } = memory;
const tx = driver.ring(TX).place;
const rx = driver.ring(RX).place;
const forwarded: number[] = [];
for (let i = 0; i < depth; i++) {
  const address = driver.allocate(PACKET);
  const data = { sourcePort: 1, destinationPort: 2, operation: Op.Data, length: DATA, bufferSize: 0x1000_0000 };
  memory.write(address, headerBytes(data));
  forwarded.push(memory.offsetOf(address, PACKET) + VsockHeader.fwd_cnt);
  driver.ring(TX).writeDescriptor(tx.descriptors + 16 * i, { address, length: PACKET, flags: 0, next: 0 });
}
for (let i = 0; i < rx.size; i++) {
  const buffer = { address: driver.allocate(PACKET), length: PACKET, flags: VRING_DESC_F_WRITE, next: 0 };
  driver.ring(RX).writeDescriptor(rx.descriptors + 16 * i, buffer);
}
const txAvailable = new Uint16Array(memory.buffer, memory.offsetOf(tx.available, 4), 2 + tx.size);
const txUsed = new Uint16Array(memory.buffer, memory.offsetOf(tx.used, 4), 2);
const rxAvailable = new Uint16Array(memory.buffer, memory.offsetOf(rx.available, 4), 2 + rx.size);
const rxUsed = new Uint16Array(memory.buffer, memory.offsetOf(rx.used, 4), 2 + 4 * rx.size);
let sent = Atomics.load(txAvailable, 1);
let given = Atomics.load(rxAvailable, 1);
let seen = Atomics.load(rxUsed, 1);
let received = 0;
/** Bytes, as a u32 that wraps. */
let taken = 0;

/** Gives buffers to the device until all are its. */
function refill(): void {
  for (let i = (given - seen) & 0xffff; i < rx.size; i++) {
    rxAvailable[2 + (given & (rx.size - 1))] = given & (rx.size - 1);
    given = (given + 1) & 0xffff;
  }
  Atomics.store(rxAvailable, 1, given);
}

function run(count: number): void {
  for (let done = 0; done < count; done += depth) {
    refill();
    for (let i = 0; i < depth; i++) {
      view.setInt32(forwarded[i]!, taken, true);
      txAvailable[2 + ((sent + i) & (tx.size - 1))] = i;
    }
    sent = (sent + depth) & 0xffff;
    Atomics.store(txAvailable, 1, sent);
    core.listen();
    core.poll();
    core.ignore();
    stream.available += depth * DATA;
    stream.listener?.readable(0);
    stream.listener?.settle();
    if (Atomics.load(txUsed, 1) !== sent) throw new Error('a packet is missing');
    for (const end = Atomics.load(rxUsed, 1); seen !== end; seen = (seen + 1) & 0xffff) {
      const length = rxUsed[2 + 4 * (seen & (rx.size - 1)) + 2]!;
      if (length <= VsockHeader.SIZE) continue;
      received++;
      taken = (taken + length - VsockHeader.SIZE) | 0;
    }
  }
}

run(200_000);
const { gc } = globalThis;
if (gc === undefined) throw new Error('run it with --expose-gc');
gc();
const receivedBefore = received;
const before = process.memoryUsage().heapUsed;
const start = performance.now();
run(wanted);
const milliseconds = performance.now() - start;
const bytes = process.memoryUsage().heapUsed - before;
const count = wanted + received - receivedBefore;
console.log(JSON.stringify({ count, depth, bytes, nanosecondsEach: Math.round((milliseconds * 1e6) / count) }));
