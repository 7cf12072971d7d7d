/**
 * What a request costs on each engine, without a guest: foreign calls, heap, and time, at queue depth 1 and 32.
 * `node --expose-gc engine-cost.ts [requests] [image]` prints a line of JSON a row; run by engine-cost.test.ts.
 *
 * The loop's round is done by hand: completions, rings, then the system calls that were gathered. Interrupts are writes to an eventfd, as
 * to KVM's. The image is in the page cache, so what is seen is mvm and the kernel's copying, not a disk.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlockDevice } from '../../devices/virtio/block/block.ts';
import { VRING_DESC_F_NEXT, VRING_DESC_F_WRITE } from '../../devices/virtio/constants.ts';
import { VirtioCore } from '../../devices/virtio/core.ts';
import { FaultLog } from '../../devices/virtio/faults.ts';
import { VirtioMmio } from '../../devices/virtio/mmio.ts';
import { AsyncEngine } from '../../lib/block/async-engine.ts';
import { DiskImage } from '../../lib/block/image.ts';
import { SyncEngine } from '../../lib/block/sync-engine.ts';
import { SYS_write } from '../../lib/ffi/constants.ts';
import { call } from '../../lib/ffi/libc.ts';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { HostMemory } from '../../lib/memory/host-memory.ts';
import { IoUring } from '../../lib/uring/ring.ts';
import { BLOCK_FEATURES } from '../helpers/virtio/block-driver.ts';
import { Driver } from '../helpers/virtio/driver.ts';
import { MmioRegisters } from '../helpers/virtio/mmio-registers.ts';

const requests = Number(process.argv[2] ?? 200_000);
const directory = mkdtempSync(join(tmpdir(), 'mvm-cost-'));
const path = process.argv[3] ?? join(directory, 'disk.img');
const BLOCK = 4096;
const BLOCKS = 4096;
const WARM_UPS = 4;
const PERIODS = 3;
if (process.argv[3] === undefined) writeFileSync(path, new Uint8Array(BLOCKS * BLOCK).fill(1));

const loop = new EventLoop();
const { arena } = loop;
const one = new NativeBuffer(8);
one.setNumber64(0, 1);
const interrupts = call('eventfd', 'count interrupts', 0, 0);

const rows: Record<string, string | number>[] = [];

function measure(engine: 'Sync' | 'Async', write: boolean, depth: number): void {
  const memory = new HostMemory(8 << 20, 'None');
  const image = new DiskImage({ path, readOnly: false, where: '', warn: console.error });
  const ring = engine === 'Async' ? new IoUring(loop) : undefined;
  const guest = memory.addressOf(0);
  const backend = ring === undefined ? new SyncEngine(image, arena, guest) : new AsyncEngine(image, ring, arena, guest);
  const device = new BlockDevice(backend, { id: 'cost', flush: true });
  const core = new VirtioCore(device, memory.guest, new FaultLog('cost', console.error));
  const line = { trigger: () => arena.post(SYS_write, interrupts, one.address, 8) };
  const driver = new Driver({ core, registers: new MmioRegisters(new VirtioMmio(core, line)) }, device, memory.guest);
  driver.start({ features: BLOCK_FEATURES, queueSize: 256 });
  const { place } = driver.ring();
  const { view, buffer } = memory.guest;
  const headers = driver.allocate(16 * depth);
  for (let i = 0; i < depth; i++) {
    view.setUint32(memory.guest.offsetOf(headers + 16 * i, 4), Number(write), true);
    const chain = [
      { address: headers + 16 * i, length: 16, flags: VRING_DESC_F_NEXT, next: 3 * i + 1 },
      {
        address: driver.allocate(BLOCK, BLOCK),
        length: BLOCK,
        flags: VRING_DESC_F_NEXT | (write ? 0 : VRING_DESC_F_WRITE),
        next: 3 * i + 2,
      },
      { address: driver.allocate(1), length: 1, flags: VRING_DESC_F_WRITE, next: 0 },
    ];
    for (const [k, descriptor] of chain.entries()) {
      driver.ring().writeDescriptor(place.descriptors + 16 * (3 * i + k), descriptor);
    }
  }
  const sectors = memory.guest.offsetOf(headers, 16) + 8;
  const avail = new Uint16Array(buffer, memory.guest.offsetOf(place.available, 4), 3 + place.size);
  const used = new Uint16Array(buffer, memory.guest.offsetOf(place.used, 4), 2);
  const usedElements = new Uint32Array(buffer, memory.guest.offsetOf(place.used, 4) + 4, 2 * place.size);
  const mask = place.size - 1;
  let idx = 0;
  let seen = 0;
  let random = 1;

  /** Keeps `depth` requests in flight, each at a random block, until so many have ended. */
  function run(count: number): void {
    let begun = 0;
    let ended = 0;
    for (let i = 0; i < depth; i++) begin(3 * i);
    begun = depth;
    while (ended < count) {
      Atomics.store(avail, 1, idx);
      ring?.poll();
      core.poll();
      arena.submit();
      for (const end = Atomics.load(used, 1); seen !== end; seen = (seen + 1) & 0xffff) {
        ended++;
        if (begun++ < count) begin(usedElements[2 * (seen & mask)]!);
      }
      avail[2 + place.size] = seen;
    }
  }

  function begin(head: number): void {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) | 0;
    view.setUint32(sectors + (16 * head) / 3, ((random >>> 16) % BLOCKS) * (BLOCK / 512), true);
    avail[2 + (idx & mask)] = head;
    idx = (idx + 1) & 0xffff;
  }

  // Long enough that V8 has compiled all of it: what it makes meanwhile is no request's.
  for (let i = 0; i < WARM_UPS; i++) run(requests);
  // What every request allocates shows in each period; V8 may still compile something anew in one of them.
  let heapBytes = Number.POSITIVE_INFINITY;
  let batches = 0;
  let milliseconds = 0;
  for (let period = 0; period < PERIODS; period++) {
    globalThis.gc?.();
    const heap = process.memoryUsage().heapUsed;
    batches = arena.batch;
    const start = performance.now();
    run(requests);
    milliseconds = performance.now() - start;
    batches = arena.batch - batches;
    heapBytes = Math.min(heapBytes, process.memoryUsage().heapUsed - heap);
  }
  const row = {
    engine,
    operation: write ? 'write' : 'read',
    depth,
    requests,
    foreignCallsEach: batches / requests,
    heapBytes,
    microsecondsEach: Number(((milliseconds * 1000) / requests).toFixed(2)),
  };
  rows.push(row);
  driver.registers.status = 0;
  backend.close();
  ring?.close();
  image.close();
}

try {
  // What V8 makes once, it makes here.
  measure('Sync', false, 1);
  for (const engine of ['Sync', 'Async'] as const) {
    for (const write of [false, true]) for (const depth of [1, 32]) measure(engine, write, depth);
  }
  for (const row of rows.slice(1)) console.log(JSON.stringify(row));
} finally {
  rmSync(directory, { recursive: true });
}
