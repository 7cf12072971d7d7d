import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { BlockBackend } from '../../../devices/virtio/block/backend.ts';
import { BlockDevice } from '../../../devices/virtio/block/block.ts';
import { AsyncEngine } from '../../../lib/block/async-engine.ts';
import { DiskImage } from '../../../lib/block/image.ts';
import { SyncEngine } from '../../../lib/block/sync-engine.ts';
import { EventLoop } from '../../../lib/loop/event-loop.ts';
import { HostMemory } from '../../../lib/memory/host-memory.ts';
import { IoUring } from '../../../lib/uring/ring.ts';
import { BLOCK_FEATURES, BlockDriver } from './block-driver.ts';

export type EngineName = 'Sync' | 'Async';
export const ENGINES: readonly EngineName[] = ['Sync', 'Async'];

let loop: EventLoop | undefined;
let ring: IoUring | undefined;

/** The loop of this test process, which nobody runs: tests poll what they need. */
export function testLoop(): EventLoop {
  loop ??= new EventLoop();
  return loop;
}

/** A ring with room for one more engine. */
function testRing(): IoUring {
  if (ring === undefined || ring.room === 0) ring = new IoUring(testLoop());
  return ring;
}

export interface FileDisk {
  readonly path: string;
  readonly image: DiskImage;
  readonly backend: BlockBackend;
  readonly device: BlockDevice;
  readonly driver: BlockDriver;
  /** Only behind the Async engine. */
  readonly ring: IoUring;
  /** Lets what is in flight end. */
  settle(): void;
}

/** A guest with a disk in a file, behind one of the engines. */
export function fileDisk(
  t: ExecutionContext,
  engine: EngineName,
  options: { size?: number; readOnly?: boolean; content?: Uint8Array; path?: string; memorySize?: number } = {},
): FileDisk {
  let { path } = options;
  if (path === undefined) {
    const directory = mkdtempSync(join(tmpdir(), 'mvm-disk-'));
    t.teardown(() => rmSync(directory, { recursive: true }));
    path = join(directory, 'disk.img');
    writeFileSync(path, options.content ?? '');
    if (options.content === undefined) truncateSync(path, options.size ?? 4 << 20);
  }
  const memory = new HostMemory(options.memorySize ?? 16 << 20, 'None');
  const image = new DiskImage({
    path,
    readOnly: options.readOnly ?? false,
    where: '/drives/0',
    warn: (line) => t.fail(line),
  });
  const guest = memory.addressOf(0);
  const uring = engine === 'Async' ? testRing() : undefined;
  const backend =
    uring === undefined
      ? new SyncEngine(image, testLoop().arena, guest)
      : new AsyncEngine(image, uring, testLoop().arena, guest);
  const device = new BlockDevice(backend, { id: 'disk', flush: true });
  const driver = new BlockDriver('mmio', device, memory.guest);
  driver.start({ features: BLOCK_FEATURES, queueSize: 256 });
  t.teardown(() => device.drain());
  const settle = (): void => {
    driver.core.poll();
    device.drain();
  };
  return { path, image, backend, device, driver, ring: uring as IoUring, settle };
}
