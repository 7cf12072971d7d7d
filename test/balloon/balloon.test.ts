import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { VIRTIO_BALLOON_F_STATS_VQ } from '../../devices/virtio/balloon/constants.ts';
import { Balloon } from '../../lib/balloon/balloon.ts';
import { MadvisePageReleaser } from '../../lib/balloon/page-releaser.ts';
import type { BalloonConfig } from '../../lib/config/types.ts';
import { ConfigError } from '../../lib/errors.ts';
import { MADV_DONTNEED, SYS_madvise } from '../../lib/ffi/constants.ts';
import { NativeArena } from '../../lib/loop/arena.ts';
import { HostMemory } from '../../lib/memory/host-memory.ts';
import { compareWithC } from '../helpers/c-layout.ts';
import { Driver } from '../helpers/virtio/driver.ts';

const MIB = 1 << 20;
const arena = new NativeArena();

const CONFIG: BalloonConfig = {
  amount: 16 * MIB,
  deflateOnOom: false,
  statsPollingInterval: 0,
  freePageHinting: false,
  freePageReporting: true,
};

/** Resident bytes of this process. */
function resident(): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(match?.[1]) * 1024;
}

test('numbers are those of Linux', (t) => {
  compareWithC(t, { headers: ['sys/syscall.h', 'sys/mman.h'], constants: { SYS_madvise, MADV_DONTNEED } });
});

test('released pages read as zeros, others stay, and the host has its memory back', (t) => {
  const memory = new HostMemory(64 * MIB, 'None');
  const { bytes } = memory.guest;
  const base = memory.guest.offsetOf(0, 1);
  bytes.fill(0xa5, base, base + 64 * MIB);
  const before = resident();
  const releaser = new MadvisePageReleaser(arena, memory.addressOf(0), 4096);
  // More ranges than fit into one batch, and a large one.
  for (let page = 0; page < 200; page++) releaser.releasePages(base + 2 * page * 4096, 4096);
  releaser.releasePages(base + 16 * MIB, 48 * MIB);
  t.is(releaser.finish(), 0);
  const all = (page: number, value: number) =>
    bytes.subarray(base + page * 4096, base + (page + 1) * 4096).every((byte) => byte === value);
  t.true(all(0, 0) && all(1, 0xa5) && all(398, 0) && all(399, 0xa5) && all(400, 0xa5));
  t.true(before - resident() > 40 * MIB);
  t.true(all(16 * 256, 0) && all(16 * 256 - 1, 0xa5) && all(64 * 256 - 1, 0));
});

test('ranges that the host refuses are counted once', (t) => {
  const releaser = new MadvisePageReleaser(arena, -(2 ** 46), 4096);
  for (let i = 0; i < 100; i++) releaser.releasePages(4096 * i, 4096);
  t.is(releaser.finish(), 100);
  t.is(releaser.finish(), 0);
});

test('a balloon larger than memory is refused, at the start and later', (t) => {
  const memory = new HostMemory(64 * MIB, 'None');
  const error = t.throws(() => new Balloon({ ...CONFIG, amount: 65 * MIB }, arena, memory, 'None'), {
    instanceOf: ConfigError,
  });
  t.is(error?.toLine(), "/balloon/amount_mib: the balloon cannot be larger than the guest's memory of 64 MiB");
  const balloon = new Balloon(CONFIG, arena, memory, 'None');
  t.is(balloon.device.target, 16 * MIB);
  balloon.setTarget(64 * MIB);
  t.is(balloon.device.target, 64 * MIB);
  t.throws(() => balloon.setTarget(64 * MIB + 1), { instanceOf: ConfigError });
  t.throws(() => balloon.setStatsPollingInterval(1), {
    instanceOf: ConfigError,
    message: /neither switched on nor off/,
  });
});

test('statistics are asked for at each interval', async (t) => {
  const memory = new HostMemory(64 * MIB, 'None');
  const balloon = new Balloon({ ...CONFIG, statsPollingInterval: 60 }, arena, memory, 'None');
  t.teardown(() => balloon.close());
  const driver = new Driver('mmio', balloon.device, memory.guest);
  driver.start({ features: [VIRTIO_BALLOON_F_STATS_VQ] });
  const head = driver.ring(2).add([{ address: driver.allocate(10), length: 10, writable: false }]);
  driver.core.poll();
  t.deepEqual(driver.ring(2).collect(), []);
  balloon.setStatsPollingInterval(1);
  t.is(balloon.statsPollingInterval, 1);
  let used = driver.ring(2).collect();
  for (; used.length === 0; used = driver.ring(2).collect()) await sleep(50);
  t.deepEqual(used, [{ head, length: 0 }]);
  t.throws(() => balloon.setStatsPollingInterval(0), { instanceOf: ConfigError });
});
