/**
 * How many bytes of V8's heap a million frames take, or a million buffers printed:
 * `node --expose-gc stream-heap-use.ts net-tx|net-rx|console mmio|pci [count] [depth]`. Prints JSON; run by stream-heap-use.test.ts.
 * The driver's side and the host's end write through views made beforehand, so that what grows is the device's.
 */
import { ConsoleDevice } from '../../../devices/virtio/console/console.ts';
import { VRING_DESC_F_WRITE } from '../../../devices/virtio/constants.ts';
import type { NetBackend, NetListener } from '../../../devices/virtio/net/backend.ts';
import { HEADER_SIZE, MAX_FRAME_SIZE } from '../../../devices/virtio/net/constants.ts';
import { NetDevice } from '../../../devices/virtio/net/net.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { Driver, type TransportName } from '../../helpers/virtio/driver.ts';
import { MERGING } from '../../helpers/virtio/net-driver.ts';

const kind = process.argv[2] as 'net-tx' | 'net-rx' | 'console';
const transport = process.argv[3] as TransportName;
const wanted = Number(process.argv[4] ?? 1_000_000);
const depth = Number(process.argv[5] ?? 32);
const FRAME = 1514;
const BATCH = 32;

/** A host's end that takes and gives frames without looking at them. */
class Nowhere implements NetBackend {
  listener: NetListener | undefined;
  readonly features = 0n;
  readonly linkUp = true;
  readonly batch = BATCH;
  readonly transmitHeaders = new DataView(new ArrayBuffer(BATCH * HEADER_SIZE));
  readonly receiveHeaders = new DataView(new ArrayBuffer(BATCH * HEADER_SIZE));
  readonly receivedLengths = new Int32Array(BATCH);
  readonly overflow = new Uint8Array(BATCH * MAX_FRAME_SIZE);
  readonly transmitFailures = 0;
  waiting = 0;
  #frames = 0;
  #slots = 0;

  configure(): void {}

  beginTransmit(): void {
    this.#frames++;
  }

  addTransmit(): void {}

  transmit(): number {
    const taken = this.#frames;
    this.#frames = 0;
    return taken;
  }

  get readable(): boolean {
    return this.waiting > 0;
  }

  beginReceive(): void {
    this.#slots++;
  }

  addReceive(): void {}

  receive(): void {
    for (let i = 0; i < this.#slots; i++) {
      this.receivedLengths[i] = this.waiting > 0 ? FRAME : 0;
      if (this.waiting > 0) this.waiting--;
    }
    this.#slots = 0;
  }
}

const memory = GuestMemory.plain(4 << 20);
const backend = new Nowhere();
const sink = {
  put: () => true,
  write: (_: Uint8Array, start: number, end: number) => end - start,
  onDrain: () => {},
};
const device = kind === 'console' ? new ConsoleDevice({ output: sink }) : new NetDevice(backend, { id: 'eth0' });
const driver = new Driver(transport, device, memory);
driver.start({ features: MERGING, queueSize: 64 });
const queue = kind === 'net-rx' ? 0 : 1;
const { descriptors, available, used, size } = driver.ring(queue).place;
for (let i = 0; i < depth; i++) {
  const flags = queue === 0 ? VRING_DESC_F_WRITE : 0;
  const address = driver.allocate(HEADER_SIZE + FRAME);
  driver.ring(queue).writeDescriptor(descriptors + 16 * i, { address, length: HEADER_SIZE + FRAME, flags, next: 0 });
}
const avail = new Uint16Array(memory.buffer, memory.offsetOf(available, 4), 2 + size);
const usedIdx = new Uint16Array(memory.buffer, memory.offsetOf(used, 4), 2);
const { core } = driver;
let idx = 0;

function run(count: number): void {
  for (let done = 0; done < count; done += depth) {
    for (let i = 0; i < depth; i++) avail[2 + ((idx + i) & (size - 1))] = i;
    idx = (idx + depth) & 0xffff;
    Atomics.store(avail, 1, idx);
    backend.waiting += kind === 'net-rx' ? depth : 0;
    core.listen();
    while (core.poll() || (backend.readable && backend.listener?.receive())) {}
    core.ignore();
    if (Atomics.load(usedIdx, 1) !== idx) throw new Error('a buffer is missing');
  }
}

run(300_000);
const { gc } = globalThis;
if (gc === undefined) throw new Error('run it with --expose-gc');
gc();
const before = process.memoryUsage().heapUsed;
const start = performance.now();
run(wanted);
const milliseconds = performance.now() - start;
const bytes = process.memoryUsage().heapUsed - before;
console.log(
  JSON.stringify({ kind, count: wanted, depth, bytes, nanosecondsEach: Math.round((milliseconds * 1e6) / wanted) }),
);
