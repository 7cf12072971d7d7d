import test from 'ava';
import { BlockDevice } from '../../../devices/virtio/block/block.ts';
import * as blk from '../../../devices/virtio/block/constants.ts';
import { VIRTIO_CONFIG_S_NEEDS_RESET } from '../../../devices/virtio/constants.ts';
import type { RequestLimiter } from '../../../devices/virtio/limiter.ts';
import { compareWithC, constantsOf } from '../../helpers/c-layout.ts';
import { BLOCK_FEATURES, type BlockDriver, blockFixture, type Request } from '../../helpers/virtio/block-driver.ts';
import { TRANSPORTS } from '../../helpers/virtio/driver.ts';
import { MemoryDisk } from '../../helpers/virtio/memory-disk.ts';

const { VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP } = blk;
const NO_STATUS = 0xee;

function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);
}

/** Runs one request to its end. */
function ask(driver: BlockDriver, request: Request): number {
  driver.core.poll();
  return driver.status(request);
}

test('numbers and structures are those of Linux', (t) => {
  const constants: Record<string, number> = constantsOf(blk);
  for (const name of ['VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP', 'SECTOR_SIZE', 'REQUEST_HEADER_SIZE', 'RANGE_SIZE']) {
    delete constants[name];
  }
  constants['sizeof(struct virtio_blk_outhdr)'] = blk.REQUEST_HEADER_SIZE;
  constants['sizeof(struct virtio_blk_discard_write_zeroes)'] = blk.RANGE_SIZE;
  for (const [name, offset] of Object.entries(blk.BlockConfig)) {
    if (name !== 'SIZE') constants[`offsetof(struct virtio_blk_config, ${name})`] = offset;
  }
  constants['offsetof(struct virtio_blk_config, unused1) + 3'] = blk.BlockConfig.SIZE;
  compareWithC(t, { headers: ['linux/virtio_blk.h'], constants });
});

for (const transport of TRANSPORTS) {
  test(`${transport}: the configuration tells what the disk is`, (t) => {
    const { driver } = blockFixture(transport, { disk: new MemoryDisk(1_000_000) });
    const { registers } = driver;
    t.is(registers.readConfig(blk.BlockConfig.capacity, 4), 1953);
    t.is(registers.readConfig(blk.BlockConfig.capacity + 4, 4), 0);
    t.is(registers.readConfig(blk.BlockConfig.seg_max, 4), 254);
    t.is(registers.readConfig(blk.BlockConfig.blk_size, 4), 512);
    t.is(registers.readConfig(blk.BlockConfig.max_discard_seg, 4), 1);
    t.is(registers.readConfig(blk.BlockConfig.write_zeroes_may_unmap, 1), 1);
    registers.writeConfig(blk.BlockConfig.capacity, 4, 0);
    t.is(registers.readConfig(blk.BlockConfig.capacity, 4), 1953);
  });

  test(`${transport}: what is written is read back, in many buffers`, (t) => {
    const { driver, disk, device } = blockFixture(transport);
    driver.start({ features: BLOCK_FEATURES });
    const bytes = pattern(3 * 4096 + 512, 3);
    const write = driver.write(9, bytes);
    t.is(ask(driver, write), VIRTIO_BLK_S_OK);
    t.deepEqual(driver.ring().collect(), [{ head: write.head, length: 1 }]);
    t.deepEqual(disk.bytes.subarray(9 * 512, 9 * 512 + bytes.length), bytes);
    const read = driver.read(9, bytes.length);
    t.is(ask(driver, read), VIRTIO_BLK_S_OK);
    t.deepEqual(driver.ring().collect(), [{ head: read.head, length: bytes.length + 1 }]);
    t.deepEqual(driver.data(read), bytes);
    t.is(device.metrics.read_count, 1);
    t.is(device.metrics.write_bytes, bytes.length);
    t.is(driver.registers.takeInterrupts().queue, true);
  });

  test(`${transport}: many requests at once, ended in any order, one interrupt a batch`, (t) => {
    const { driver, disk } = blockFixture(transport, { disk: new MemoryDisk(1 << 20, { slow: true }) });
    driver.start({ features: BLOCK_FEATURES });
    const writes = [0, 1, 2, 3].map((i) => driver.write(i, pattern(512, i)));
    driver.registers.notify(0);
    t.is(disk.pending.length, 4);
    t.deepEqual(driver.ring().collect(), []);
    t.true(writes.every((write) => driver.status(write) === NO_STATUS));
    disk.finish(2);
    disk.finish(0);
    t.deepEqual(
      driver
        .ring()
        .collect()
        .map(({ head }) => head),
      [writes[2]!.head, writes[0]!.head],
    );
    t.is(driver.status(writes[0]!), VIRTIO_BLK_S_OK);
    t.is(driver.status(writes[1]!), NO_STATUS);
    disk.drain();
    t.is(driver.ring().collect().length, 2);
    t.deepEqual(disk.bytes.subarray(3 * 512, 4 * 512), pattern(512, 3));
  });

  test(`${transport}: a reset waits for what is in flight, and the device works again`, (t) => {
    const { driver, disk } = blockFixture(transport, { disk: new MemoryDisk(1 << 20, { slow: true }) });
    driver.start({ features: BLOCK_FEATURES });
    driver.write(0, pattern(512, 1));
    driver.core.poll();
    driver.start({ features: BLOCK_FEATURES });
    t.is(disk.pending.length, 0);
    const read = driver.read(0, 512);
    driver.core.poll();
    disk.drain();
    t.is(driver.status(read), VIRTIO_BLK_S_OK);
    t.deepEqual(driver.data(read), pattern(512, 1));
    t.is(driver.ring().collect().length, 1);
  });

  test(`${transport}: resetting the queue ends its requests too`, (t) => {
    const { driver, disk } = blockFixture(transport, { disk: new MemoryDisk(1 << 20, { slow: true }) });
    driver.start({ features: [...BLOCK_FEATURES, 40] });
    driver.write(0, pattern(512, 1));
    driver.core.poll();
    driver.registers.resetQueue(0);
    t.is(disk.pending.length, 0);
    driver.setUpQueue(0);
    const flush = driver.flush();
    driver.core.poll();
    disk.drain();
    t.is(driver.status(flush), VIRTIO_BLK_S_OK);
  });

  test(`${transport}: the same chain twice is a fault`, (t) => {
    const { driver, disk } = blockFixture(transport, { disk: new MemoryDisk(1 << 20, { slow: true }) });
    driver.start({ features: BLOCK_FEATURES });
    const { head } = driver.read(0, 512);
    driver.core.poll();
    driver.ring().offer(head);
    driver.ring().announce();
    driver.core.poll();
    t.is(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET);
    t.true(driver.warnings[0]?.includes('made available twice'));
    t.is(disk.pending.length, 1);
    disk.drain();
    t.deepEqual(driver.ring().collect(), [], 'a device that needs a reset uses no ring');
    driver.start({ features: BLOCK_FEATURES });
    t.is(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
  });
}

test('requests in one buffer, and headers in pieces', (t) => {
  const { driver } = blockFixture('mmio');
  driver.start({ features: BLOCK_FEATURES });
  const at = driver.allocate(1024);
  driver.memory.write(at, new Uint8Array(16));
  // Header in three pieces, data and status in one buffer.
  driver.ring().add([
    { address: at, length: 3, writable: false },
    { address: at + 3, length: 6, writable: false },
    { address: at + 9, length: 7, writable: false },
    { address: at + 16, length: 513, writable: true },
  ]);
  driver.memory.write(at + 16, new Uint8Array(513).fill(0xaa));
  driver.core.poll();
  t.deepEqual(driver.memory.read(at + 16, 513), new Uint8Array(513));
  // Header and data in one buffer.
  const header = new Uint8Array(16 + 512).fill(5);
  header.fill(0, 0, 16);
  header[0] = blk.VIRTIO_BLK_T_OUT;
  header[8] = 7;
  driver.memory.write(at, header);
  driver.ring().add([
    { address: at, length: 528, writable: false },
    { address: at + 900, length: 1, writable: true },
  ]);
  driver.core.poll();
  t.is(driver.status(driver.read(7, 512)), NO_STATUS);
  const read = driver.read(7, 512);
  t.is(ask(driver, read), VIRTIO_BLK_S_OK);
  t.deepEqual(driver.data(read), new Uint8Array(512).fill(5));
});

test('the identity: as much of the id as 20 bytes hold', (t) => {
  for (const [id, expected] of [
    ['rootfs', `rootfs${'\0'.repeat(14)}`],
    ['a-name-that-is-longer-than-that', 'a-name-that-is-longe'],
  ] as const) {
    const { driver } = blockFixture('mmio', { id });
    driver.start({ features: BLOCK_FEATURES });
    const request = driver.getId();
    t.is(ask(driver, request), VIRTIO_BLK_S_OK);
    t.is(Buffer.from(driver.data(request)).toString('latin1'), expected);
    t.is(ask(driver, driver.getId(19)), VIRTIO_BLK_S_IOERR);
  }
});

test('flush is offered and reaches the disk, or is not offered and refused', (t) => {
  const writeback = blockFixture('mmio');
  writeback.driver.start({ features: BLOCK_FEATURES });
  t.is(ask(writeback.driver, writeback.driver.flush()), VIRTIO_BLK_S_OK);
  t.deepEqual(writeback.disk.log, ['flush 0+0']);
  t.is(writeback.device.metrics.flush_count, 1);
  const unsafe = blockFixture('mmio', { flush: false });
  t.is(unsafe.driver.features & (1n << BigInt(blk.VIRTIO_BLK_F_FLUSH)), 0n);
  unsafe.driver.start({ features: BLOCK_FEATURES });
  t.is(ask(unsafe.driver, unsafe.driver.flush()), VIRTIO_BLK_S_UNSUPP);
  t.deepEqual(unsafe.disk.log, []);
});

test('a read-only disk is announced, and is not written', (t) => {
  const { driver, disk } = blockFixture('mmio', { disk: new MemoryDisk(1 << 20, { readOnly: true }) });
  t.not(driver.features & (1n << BigInt(blk.VIRTIO_BLK_F_RO)), 0n);
  driver.start({ features: BLOCK_FEATURES });
  t.is(ask(driver, driver.write(0, pattern(512, 1))), VIRTIO_BLK_S_IOERR);
  t.is(ask(driver, driver.range(blk.VIRTIO_BLK_T_DISCARD, { sector: 0, count: 1 })), VIRTIO_BLK_S_IOERR);
  t.is(ask(driver, driver.read(0, 512)), VIRTIO_BLK_S_OK);
  t.deepEqual(disk.log, []);
});

test('requests outside the disk, of odd lengths, or unknown, are answered and harm nothing', (t) => {
  const { driver, device } = blockFixture('mmio', { disk: new MemoryDisk(4096) });
  driver.start({ features: BLOCK_FEATURES });
  for (const [request, expected] of [
    [driver.read(8, 512), VIRTIO_BLK_S_IOERR],
    [driver.read(7, 1024), VIRTIO_BLK_S_IOERR],
    [driver.read(0xffff_ffff_ffff, 512), VIRTIO_BLK_S_IOERR],
    [driver.read(2 ** 64 - 2048, 512), VIRTIO_BLK_S_IOERR],
    [driver.write(8, pattern(512, 0)), VIRTIO_BLK_S_IOERR],
    [driver.read(0, 511), VIRTIO_BLK_S_IOERR],
    [driver.write(0, pattern(513, 0)), VIRTIO_BLK_S_IOERR],
    [driver.request(blk.VIRTIO_BLK_T_IN, 0), VIRTIO_BLK_S_IOERR],
    [driver.request(2, 0), VIRTIO_BLK_S_UNSUPP],
    [driver.request(0xff, 0), VIRTIO_BLK_S_UNSUPP],
    [driver.request(0x8000_0000, 0), VIRTIO_BLK_S_UNSUPP],
  ] as const) {
    t.is(ask(driver, request), expected);
  }
  t.is(device.metrics.invalid_reqs_count, 11);
  t.is(ask(driver, driver.read(7, 512)), VIRTIO_BLK_S_OK);
  t.deepEqual(driver.warnings, []);
});

test('chains that are no requests are faults', (t) => {
  for (const buffers of [
    [{ address: 0x8000, length: 15, writable: false }],
    [{ address: 0x8000, length: 16, writable: true }],
    [{ address: 0x8000, length: 16, writable: false }],
  ]) {
    const { driver } = blockFixture('mmio');
    driver.start({ features: BLOCK_FEATURES });
    driver.ring().add(buffers);
    driver.core.poll();
    t.is(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET);
    driver.start({ features: BLOCK_FEATURES });
    t.is(ask(driver, driver.flush()), VIRTIO_BLK_S_OK);
  }
});

test('discard and write zeroes', (t) => {
  const { driver, disk, device } = blockFixture('mmio');
  disk.bytes.fill(9);
  driver.start({ features: BLOCK_FEATURES });
  const { VIRTIO_BLK_T_DISCARD: DISCARD, VIRTIO_BLK_T_WRITE_ZEROES: ZEROES } = blk;
  for (const [request, expected] of [
    [driver.range(DISCARD, { sector: 2, count: 3 }), VIRTIO_BLK_S_OK],
    [driver.range(ZEROES, { sector: 8, count: 1 }), VIRTIO_BLK_S_OK],
    [driver.range(ZEROES, { sector: 9, count: 1, flags: 1 }), VIRTIO_BLK_S_OK],
    [driver.range(DISCARD, { sector: 2, count: 3, flags: 1 }), VIRTIO_BLK_S_UNSUPP],
    [driver.range(ZEROES, { sector: 2, count: 3, flags: 2 }), VIRTIO_BLK_S_UNSUPP],
    [driver.range(DISCARD, { sector: 0, count: 1 }, { sector: 1, count: 1 }), VIRTIO_BLK_S_UNSUPP],
    [driver.range(DISCARD), VIRTIO_BLK_S_UNSUPP],
    [driver.range(DISCARD, { sector: 2047, count: 2 }), VIRTIO_BLK_S_IOERR],
    [driver.range(DISCARD, { sector: 0, count: 0 }), VIRTIO_BLK_S_IOERR],
    [driver.range(ZEROES, { sector: 0, count: 0xffff_ffff }), VIRTIO_BLK_S_IOERR],
  ] as const) {
    t.is(ask(driver, request), expected);
  }
  t.deepEqual(disk.log, ['discard 1024+1536', 'zero 4096+512', 'zero, unmap 4608+512']);
  t.is(device.metrics.discard_count, 1);
  t.is(device.metrics.write_zeroes_count, 2);
  t.is(disk.bytes[4095], 9);
  t.is(disk.bytes[4096], 0);
});

test('what the driver has not agreed to, or the disk cannot do, is refused', (t) => {
  const able = blockFixture('mmio');
  able.driver.start();
  t.is(ask(able.driver, able.driver.range(blk.VIRTIO_BLK_T_DISCARD, { sector: 0, count: 1 })), VIRTIO_BLK_S_UNSUPP);
  const { driver } = blockFixture('mmio', { disk: new MemoryDisk(1 << 20, { holes: false }) });
  t.is(driver.features & (1n << BigInt(blk.VIRTIO_BLK_F_DISCARD)), 0n);
  t.is(driver.registers.readConfig(blk.BlockConfig.max_discard_seg, 4), 0);
});

test('errors of the host reach the guest as such, and only that request', (t) => {
  const { driver, disk, device } = blockFixture('mmio');
  driver.start({ features: BLOCK_FEATURES });
  disk.errno = 28; // ENOSPC
  t.is(ask(driver, driver.write(0, pattern(512, 1))), VIRTIO_BLK_S_IOERR);
  t.is(ask(driver, driver.flush()), VIRTIO_BLK_S_IOERR);
  disk.errno = 95; // EOPNOTSUPP
  t.is(ask(driver, driver.range(blk.VIRTIO_BLK_T_DISCARD, { sector: 0, count: 1 })), VIRTIO_BLK_S_UNSUPP);
  disk.errno = 0;
  disk.shortBy = 1;
  t.is(ask(driver, driver.read(0, 512)), VIRTIO_BLK_S_IOERR);
  disk.shortBy = 0;
  t.is(ask(driver, driver.read(0, 512)), VIRTIO_BLK_S_OK);
  t.is(device.metrics.execute_fails, 4);
});

/** Lets so many operations through, then makes the device wait for `refill`. */
class CountingLimiter implements RequestLimiter {
  left: number;
  bytes = 0;
  #listener: (() => void) | undefined;

  constructor(left: number) {
    this.left = left;
  }

  take(operations: number, bytes: number): boolean {
    if (this.left < operations) return false;
    this.left -= operations;
    this.bytes += bytes;
    return true;
  }

  onReady(listener: () => void): void {
    this.#listener = listener;
  }

  refill(count: number): void {
    this.left = count;
    this.#listener?.();
  }
}

test('a limiter holds the queue, and no request is lost or done twice', (t) => {
  const limiter = new CountingLimiter(2);
  const { driver, disk, device } = blockFixture('mmio', { limiter });
  driver.start({ features: BLOCK_FEATURES });
  const requests = [0, 1, 2, 3, 4].map((i) => driver.write(i, pattern(512 * (i + 1), i)));
  t.true(driver.core.poll());
  t.false(driver.core.poll(), 'it does not spin on a queue that must wait');
  t.deepEqual(
    requests.map((request) => driver.status(request)),
    [0, 0, NO_STATUS, NO_STATUS, NO_STATUS],
  );
  t.is(device.metrics.rate_limiter_throttled_events, 1);
  limiter.refill(1);
  t.true(driver.core.poll());
  limiter.refill(9);
  t.true(driver.core.poll());
  t.deepEqual(
    requests.map((request) => driver.status(request)),
    [0, 0, 0, 0, 0],
  );
  t.is(driver.ring().collect().length, 5);
  t.is(device.metrics.write_count, 5);
  t.is(limiter.bytes, 512 * 15);
  t.deepEqual(disk.bytes.subarray(4 * 512, 9 * 512), pattern(5 * 512, 4));
});

test('no more requests are in flight than the disk can have, and none is lost', (t) => {
  const { driver, disk, device } = blockFixture('mmio', { disk: new MemoryDisk(1 << 20, { slow: true }) });
  disk.depth = 2;
  driver.start({ features: BLOCK_FEATURES });
  const requests = [0, 1, 2, 3, 4].map((i) => driver.write(i, pattern(512, i)));
  t.true(driver.core.poll());
  t.is(disk.pending.length, 2);
  t.false(driver.core.poll(), 'it does not spin meanwhile');
  disk.finish(1);
  t.true(driver.core.poll());
  t.is(disk.pending.length, 2);
  t.is(device.metrics.io_engine_throttled_events, 2);
  for (let i = 0; i < 5; i++) {
    disk.drain();
    driver.core.poll();
  }
  t.deepEqual(
    requests.map((request) => driver.status(request)),
    [0, 0, 0, 0, 0],
  );
  t.is(driver.ring().collect().length, 5);
  for (let i = 0; i < 3; i++) driver.flush();
  driver.core.poll();
  driver.start({ features: BLOCK_FEATURES });
  driver.flush();
  t.true(driver.core.poll(), 'a reset frees a queue that waits');
});

test('a reset frees a queue that waits for its limiter', (t) => {
  const limiter = new CountingLimiter(0);
  const { driver } = blockFixture('mmio', { limiter });
  driver.start({ features: BLOCK_FEATURES });
  driver.flush();
  driver.core.poll();
  driver.start({ features: BLOCK_FEATURES });
  limiter.left = 1;
  t.is(ask(driver, driver.flush()), VIRTIO_BLK_S_OK);
  limiter.refill(1);
});

test('a disk is exchanged under a running guest, which is told', (t) => {
  const { driver, disk, device } = blockFixture('mmio', { disk: new MemoryDisk(1 << 20, { slow: true }) });
  driver.start({ features: BLOCK_FEATURES });
  const write = driver.write(0, pattern(512, 1));
  driver.core.poll();
  const { generation } = driver.registers;
  const larger = new MemoryDisk(2 << 20);
  device.replace(larger);
  t.is(driver.status(write), VIRTIO_BLK_S_OK, 'what was in flight ended on the old disk');
  t.deepEqual(disk.bytes.subarray(0, 512), pattern(512, 1));
  t.true(driver.registers.takeInterrupts().config);
  t.not(driver.registers.generation, generation);
  t.is(driver.registers.readConfig(0, 4), 4096);
  t.is(ask(driver, driver.write(4095, pattern(512, 2))), VIRTIO_BLK_S_OK);
  t.deepEqual(larger.bytes.subarray(4095 * 512), pattern(512, 2));
  t.is(device.metrics.update_count, 1);
});

test('several drives know themselves', (t) => {
  t.is(new BlockDevice(new MemoryDisk(512), { id: 'data', flush: false }).name, 'drive "data"');
});
