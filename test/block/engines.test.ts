import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import * as blk from '../../devices/virtio/block/constants.ts';
import { ENGINES, fileDisk, testLoop } from '../helpers/virtio/file-disk.ts';

const { VIRTIO_BLK_S_IOERR: IOERR, VIRTIO_BLK_S_OK: OK } = blk;

function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + seed + (i >> 9)) & 0xff);
}

for (const engine of ENGINES) {
  test(`${engine}: what is written is in the file, and is read back`, (t) => {
    const { driver, path, settle } = fileDisk(t, engine);
    const one = pattern(512, 1);
    const many = pattern(9 * 4096 + 1024, 2);
    const requests = [driver.write(3, one), driver.write(100, many), driver.flush()];
    settle();
    t.deepEqual(
      requests.map((request) => driver.status(request)),
      [OK, OK, OK],
    );
    const file = readFileSync(path);
    t.deepEqual(new Uint8Array(file.subarray(3 * 512, 4 * 512)), one);
    t.deepEqual(new Uint8Array(file.subarray(100 * 512, 100 * 512 + many.length)), many);
    const reads = [driver.read(3, 512), driver.read(100, many.length)];
    settle();
    t.deepEqual(
      reads.map((request) => driver.status(request)),
      [OK, OK],
    );
    t.deepEqual(driver.data(reads[0]!), one);
    t.deepEqual(driver.data(reads[1]!), many);
  });

  test(`${engine}: buffers scattered over memory, in the order of the chain`, (t) => {
    const content = pattern(1 << 20, 5);
    const { driver, settle } = fileDisk(t, engine, { content });
    const header = driver.allocate(16);
    driver.memory.write(header, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 8));
    const places = Array.from({ length: 60 }, (_, i) => driver.allocate(600) + (i % 2)).reverse();
    driver
      .ring()
      .add([
        { address: header, length: 16, writable: false },
        ...places.map((address) => ({ address, length: 256, writable: true })),
        { address: driver.allocate(1), length: 1, writable: true },
      ]);
    settle();
    const found = Buffer.concat(places.map((address) => driver.memory.read(address, 256)));
    t.deepEqual(new Uint8Array(found), content.subarray(4096, 4096 + found.length));
  });

  test(`${engine}: a whole queue of requests in one batch`, (t) => {
    const { driver, path, settle } = fileDisk(t, engine);
    const count = 80;
    const requests = Array.from({ length: count }, (_, i) => driver.write(i * 8, pattern(4096, i)));
    settle();
    t.is(driver.ring().collect().length, count);
    t.true(requests.every((request) => driver.status(request) === OK));
    const file = readFileSync(path);
    for (let i = 0; i < count; i++) {
      t.deepEqual(new Uint8Array(file.subarray(i * 4096, (i + 1) * 4096)), pattern(4096, i));
    }
  });

  test(`${engine}: discarded and zeroed ranges read as zeroes, the rest stays`, (t) => {
    const content = pattern(1 << 20, 7).map((byte) => byte | 1);
    const { driver, path, settle } = fileDisk(t, engine, { content });
    const before = statSync(path).blocks;
    const requests = [
      driver.range(blk.VIRTIO_BLK_T_DISCARD, { sector: 8, count: 800 }),
      driver.range(blk.VIRTIO_BLK_T_WRITE_ZEROES, { sector: 1001, count: 3, flags: 1 }),
    ];
    settle();
    t.deepEqual(
      requests.map((request) => driver.status(request)),
      [OK, OK],
    );
    const expected = content.slice();
    expected.fill(0, 8 * 512, 808 * 512);
    expected.fill(0, 1001 * 512, 1004 * 512);
    t.deepEqual(new Uint8Array(readFileSync(path)), expected);
    t.true(statSync(path).blocks < before);
  });

  test(`${engine}: errors of the host are answered, and the next request works`, (t) => {
    const { driver, image, settle, device } = fileDisk(t, engine);
    ftruncateSync(image.fd, 8192);
    const requests = [driver.read(15, 512), driver.read(15, 1024), driver.read(16, 512), driver.read(0, 512)];
    settle();
    t.deepEqual(
      requests.map((request) => driver.status(request)),
      [OK, IOERR, IOERR, OK],
    );
    t.is(device.metrics.execute_fails, 2);
  });

  test(`${engine}: what the host does not let us write is an error, and the next request works`, (t) => {
    const { path, image } = fileDisk(t, engine, { size: 1 << 20 });
    image.close();
    const guest = join(import.meta.dirname, 'limited-guest.ts');
    // Files of 64 KiB at most: EFBIG beyond, once the signal that goes with it is ignored (setrlimit(2), RLIMIT_FSIZE).
    const limited = 'trap "" XFSZ; ulimit -f 64; exec "$0" "$@"';
    const args = ['-c', limited, process.execPath, guest, path, engine, '1000'];
    t.deepEqual(JSON.parse(execFileSync('bash', args, { encoding: 'utf8' })), [OK, IOERR, OK]);
  });

  test(`${engine}: a read-only image is not written`, (t) => {
    const { driver, settle, path } = fileDisk(t, engine, { content: pattern(8192, 1), readOnly: true });
    const requests = [driver.write(0, pattern(512, 9)), driver.flush(), driver.read(0, 512)];
    settle();
    t.deepEqual(
      requests.map((request) => driver.status(request)),
      [IOERR, OK, OK],
    );
    t.deepEqual(new Uint8Array(readFileSync(path)), pattern(8192, 1));
  });

  test(`${engine}: any sequence of reads and writes is what memory would do`, (t) => {
    const sectors = 256;
    const { driver, settle } = fileDisk(t, engine, { size: sectors * 512 });
    const model = new Uint8Array(sectors * 512);
    const step = fc.record({
      write: fc.boolean(),
      sector: fc.nat({ max: sectors - 1 }),
      count: fc.integer({ min: 1, max: 24 }),
      seed: fc.nat({ max: 255 }),
    });
    const start = driver.allocate(0);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 6 }), (steps) => {
        driver.allocator = new (driver.allocator.constructor as new (at: number) => typeof driver.allocator)(start);
        for (const { write, sector, count, seed } of steps) {
          const length = count * 512;
          const inside = sector + count <= sectors;
          const bytes = pattern(length, seed);
          const request = write ? driver.write(sector, bytes) : driver.read(sector, length);
          settle();
          driver.ring().collect();
          t.is(driver.status(request), inside ? OK : IOERR);
          if (!inside) continue;
          if (write) model.set(bytes, sector * 512);
          else t.deepEqual(driver.data(request), model.slice(sector * 512, sector * 512 + length));
        }
      }),
      { numRuns: 60 },
    );
  });
}

test('Sync: a batch is a foreign call for the requests of a whole arena, not one each', (t) => {
  const { driver } = fileDisk(t, 'Sync');
  const { arena } = testLoop();
  for (const [count, calls] of [
    [1, 1],
    [60, 1],
    [70, 2],
  ] as const) {
    for (let i = 0; i < count; i++) driver.read(i, 512);
    arena.submit();
    const before = arena.batch;
    driver.core.poll();
    t.is(driver.ring().collect().length, count);
    t.is(arena.batch - before, calls);
  }
});

test('Async: a batch is one system call, made with the loop’s others', (t) => {
  const { driver, ring } = fileDisk(t, 'Async');
  const { arena } = testLoop();
  arena.submit();
  const before = arena.batch;
  const requests = Array.from({ length: 32 }, (_, i) => driver.read(i, 512));
  driver.core.poll();
  t.is(arena.batch, before, 'nothing has been called yet');
  t.is(arena.room, 59);
  arena.submit();
  while (!requests.every((request) => driver.status(request) === OK)) ring.poll();
  t.is(driver.ring().collect().length, 32);
});

test('Async: writes of whole pages are made at once, with the call that submits the rest', (t) => {
  const { driver, ring } = fileDisk(t, 'Async');
  const { arena } = testLoop();
  arena.submit();
  const before = arena.batch;
  const whole = [driver.write(0, pattern(4096, 1)), driver.write(16, pattern(8192, 2))];
  const part = driver.write(9, pattern(512, 3));
  const read = driver.read(40, 512);
  driver.core.poll();
  t.is(arena.batch - before, 1);
  t.deepEqual(
    whole.map((request) => driver.status(request)),
    [OK, OK],
  );
  t.not(driver.status(part), OK);
  while (driver.status(part) !== OK || driver.status(read) !== OK) ring.poll();
  t.is(driver.ring().collect().length, 4);
});

test('Async: before it sleeps it is told of completions, and sees those that came before', (t) => {
  const { driver, device, ring } = fileDisk(t, 'Async');
  t.false(ring.listen());
  ring.ignore();
  const request = driver.read(0, 512);
  driver.core.poll();
  testLoop().arena.submit();
  while (!ring.listen());
  t.not(driver.status(request), OK, 'listening tells nobody');
  ring.ignore();
  device.drain();
  t.is(driver.status(request), OK);
});

test('a closed file is an error of the host like any other', (t) => {
  const { driver, image, settle } = fileDisk(t, 'Sync');
  const { fd } = image;
  closeSync(fd);
  const write = driver.write(0, pattern(512, 1));
  settle();
  t.is(driver.status(write), IOERR);
});
