/**
 * How many bytes of V8's heap a million block requests take: `node --expose-gc heap-use.ts mmio|pci [requests] [depth]`.
 * Prints JSON; run by heap-use.test.ts. The driver's side writes through views made beforehand, so that what grows is the device's.
 */
import * as blk from '../../../devices/virtio/block/constants.ts';
import { VRING_DESC_F_NEXT, VRING_DESC_F_WRITE } from '../../../devices/virtio/constants.ts';
import { BLOCK_FEATURES, blockFixture } from '../../helpers/virtio/block-driver.ts';
import type { TransportName } from '../../helpers/virtio/driver.ts';
import { MemoryDisk } from '../../helpers/virtio/memory-disk.ts';

const transport = process.argv[2] as TransportName;
const requests = Number(process.argv[3] ?? 1_000_000);
const depth = Number(process.argv[4] ?? 32);

const disk = new MemoryDisk(1 << 20);
disk.logging = false;
const { driver } = blockFixture(transport, { disk });
driver.start({ features: BLOCK_FEATURES, queueSize: 256 });
const ring = driver.ring();
const { descriptors, available, used, size } = ring.place;
for (let i = 0; i < depth; i++) {
  const header = driver.allocate(16);
  const status = driver.allocate(1);
  // Reads and writes in turn.
  driver.memory.view.setUint32(driver.memory.offsetOf(header, 16), i % 2, true);
  driver.memory.view.setUint32(driver.memory.offsetOf(header, 16) + 8, i, true);
  const writable = i % 2 === blk.VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;
  const data = driver.allocate(512);
  const chain = [
    { address: header, length: 16, flags: VRING_DESC_F_NEXT, next: 3 * i + 1 },
    { address: data, length: 512, flags: VRING_DESC_F_NEXT | writable, next: 3 * i + 2 },
    { address: status, length: 1, flags: VRING_DESC_F_WRITE, next: 0 },
  ];
  for (const [k, descriptor] of chain.entries()) ring.writeDescriptor(descriptors + 16 * (3 * i + k), descriptor);
}
const avail = new Uint16Array(driver.memory.buffer, driver.memory.offsetOf(available, 4), 2 + size);
const usedIdx = new Uint16Array(driver.memory.buffer, driver.memory.offsetOf(used, 4), 2);
const { core } = driver;
let idx = 0;

function run(count: number): void {
  for (let done = 0; done < count; done += depth) {
    for (let i = 0; i < depth; i++) avail[2 + ((idx + i) & (size - 1))] = 3 * i;
    idx = (idx + depth) & 0xffff;
    Atomics.store(avail, 1, idx);
    core.listen();
    core.poll();
    core.ignore();
    if (Atomics.load(usedIdx, 1) !== idx) throw new Error('a request is missing');
  }
}

run(300_000);
const { gc } = globalThis;
if (gc === undefined) throw new Error('run it with --expose-gc');
gc();
const before = process.memoryUsage().heapUsed;
const start = performance.now();
run(requests);
const milliseconds = performance.now() - start;
const bytes = process.memoryUsage().heapUsed - before;
console.log(JSON.stringify({ requests, depth, bytes, nanosecondsEach: Math.round((milliseconds * 1e6) / requests) }));
