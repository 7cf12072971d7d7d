import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import * as blk from '../../devices/virtio/block/constants.ts';
import { DriveFactory } from '../../lib/block/create.ts';
import { inGuestOrder, rootParameters } from '../../lib/block/root.ts';
import type { DriveConfig, RateLimiterConfig } from '../../lib/config/types.ts';
import { ConfigError } from '../../lib/errors.ts';
import { HostMemory } from '../../lib/memory/host-memory.ts';
import { withoutCalls } from '../helpers/seccomp/launcher.ts';
import { BLOCK_FEATURES, BlockDriver } from '../helpers/virtio/block-driver.ts';
import { testLoop } from '../helpers/virtio/file-disk.ts';

function directory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'mvm-drives-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

function imageFile(t: ExecutionContext, size = 1 << 20): string {
  const path = join(directory(t), 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, size);
  return path;
}

interface Wishes {
  readonly ioEngine?: 'Sync' | 'Async';
  readonly readOnly?: boolean;
  readonly cacheType?: 'Unsafe' | 'Writeback';
  readonly rateLimiter?: RateLimiterConfig;
  readonly isRoot?: boolean;
  readonly partuuid?: string;
}

function drive(path: string, wishes: Wishes = {}): DriveConfig {
  const { ioEngine = 'Sync', readOnly = false, cacheType = 'Unsafe', rateLimiter, isRoot = false, partuuid } = wishes;
  return {
    id: 'disk',
    isRoot,
    partuuid,
    cacheType,
    backend: { kind: 'file', path, readOnly, ioEngine, rateLimiter },
  };
}

function setUp() {
  const memory = new HostMemory(4 << 20, 'None');
  const warnings: string[] = [];
  const factory = new DriveFactory(testLoop(), memory, (line) => warnings.push(line));
  return { memory, warnings, factory };
}

for (const ioEngine of ['Sync', 'Async'] as const) {
  test(`${ioEngine}: a drive of the configuration is a disk for the guest, and its image is free again once it is closed`, (t) => {
    const { memory, warnings, factory } = setUp();
    const path = imageFile(t);
    const { device, close } = factory.create(drive(path, { ioEngine, cacheType: 'Writeback' }), '/drives/0');
    const driver = new BlockDriver('mmio', device, memory.guest);
    driver.start({ features: BLOCK_FEATURES });
    const requests = [driver.write(7, new Uint8Array(512).fill(7)), driver.flush(), driver.read(0, 4096)];
    driver.core.poll();
    t.throws(() => factory.create(drive(path), '/drives/1'), { instanceOf: ConfigError, message: /in use/ });
    close();
    t.deepEqual(
      requests.map((request) => driver.status(request)),
      [0, 0, 0],
    );
    const again = factory.create(drive(path), '/drives/1');
    again.close();
    t.deepEqual(warnings, []);
  });
}

test('cache_type says whether the guest may ask for durability, is_read_only whether it may write', (t) => {
  const { factory } = setUp();
  const has = (wishes: Wishes, bit: number) => {
    const made = factory.create(drive(imageFile(t), wishes), '/drives/0');
    made.close();
    return (made.device.features & (1n << BigInt(bit))) !== 0n;
  };
  t.false(has({ cacheType: 'Unsafe' }, blk.VIRTIO_BLK_F_FLUSH));
  t.true(has({ cacheType: 'Writeback' }, blk.VIRTIO_BLK_F_FLUSH));
  t.false(has({ readOnly: false }, blk.VIRTIO_BLK_F_RO));
  t.true(has({ readOnly: true }, blk.VIRTIO_BLK_F_RO));
  t.false(has({ readOnly: true }, blk.VIRTIO_BLK_F_DISCARD));
});

test.serial('a rate limiter holds requests until the loop’s timer', async (t) => {
  const { memory, factory } = setUp();
  const loop = testLoop();
  const rateLimiter = { ops: { size: 2, oneTimeBurst: 0, refillTime: 20 }, bandwidth: undefined };
  const { device, close } = factory.create(drive(imageFile(t), { rateLimiter }), '/drives/0');
  const driver = new BlockDriver('mmio', device, memory.guest);
  driver.start({ features: BLOCK_FEATURES });
  const requests = Array.from({ length: 6 }, (_, i) => driver.read(i, 512));
  const poller = { poll: () => driver.core.poll() };
  loop.addPoller(poller);
  const running = loop.run();
  const done = () => requests.every((request) => driver.status(request) === 0);
  t.false(done());
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 5));
  loop.stop();
  await running;
  loop.removePoller(poller);
  t.true(device.metrics.rate_limiter_throttled_events >= 2);
  close();
});

test('where the host forbids io_uring, Async drives work all the same, and it is said once', (t) => {
  const [launcher, ...args] = withoutCalls('io_uring_setup');
  const guest = join(import.meta.dirname, 'without-uring-guest.ts');
  const output = execFileSync(launcher, [...args, process.execPath, guest, imageFile(t), imageFile(t)], {
    encoding: 'utf8',
  });
  t.deepEqual(JSON.parse(output), {
    warnings: [
      'io_engine Async is not available here, drives use Sync: cannot use io_uring: io_uring_setup failed with EPERM',
    ],
    statuses: [0, 0],
  });
});

test('errors name the drive', (t) => {
  const { factory } = setUp();
  const missing = t.throws(() => factory.create(drive('/nowhere/disk.img'), '/drives/3'), { instanceOf: ConfigError });
  t.is((missing as ConfigError).where, '/drives/3/path_on_host');
  const remote: DriveConfig = { ...drive(''), backend: { kind: 'vhost-user', socketPath: '/run/x' } };
  const error = t.throws(() => factory.create(remote, '/drives/0'), { instanceOf: ConfigError });
  t.is(
    (error as ConfigError).toLine(),
    '/drives/0/socket: vhost-user drives are not supported; give path_on_host instead',
  );
});

test('the root device comes first, and the kernel is told which it is', (t) => {
  const a = drive('/a');
  const root = drive('/b', { isRoot: true });
  t.deepEqual(inGuestOrder([a, root]), [root, a]);
  t.is(rootParameters([a]), undefined);
  t.is(rootParameters([a, root]), 'root=/dev/vda rw');
  t.is(rootParameters([drive('/b', { isRoot: true, readOnly: true })]), 'root=/dev/vda ro');
  t.is(rootParameters([drive('/b', { isRoot: true, partuuid: '0eaa91a0-01' })]), 'root=PARTUUID=0eaa91a0-01 rw');
});
