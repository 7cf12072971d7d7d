// Run by engines.test.ts where no file may grow beyond a limit: writes on this side of it, beyond it, and again on this side.
import { BlockDevice } from '../../devices/virtio/block/block.ts';
import { DriveFactory } from '../../lib/block/create.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { HostMemory } from '../../lib/memory/host-memory.ts';
import { BLOCK_FEATURES, BlockDriver } from '../helpers/virtio/block-driver.ts';

const [path, ioEngine, beyond] = process.argv.slice(2) as [string, 'Sync' | 'Async', string];
const memory = new HostMemory(2 << 20, 'None');
const factory = new DriveFactory(new EventLoop(), memory, (line) => process.stderr.write(line));
const { device } = factory.create(
  {
    id: 'disk',
    isRoot: false,
    partuuid: undefined,
    cacheType: 'Writeback',
    backend: { kind: 'file', path, readOnly: false, ioEngine, rateLimiter: undefined },
  },
  '/drives/0',
);
if (!(device instanceof BlockDevice)) throw new Error('no block device');
const driver = new BlockDriver('mmio', device, memory.guest);
driver.start({ features: BLOCK_FEATURES });
const statuses = [0, Number(beyond), 1].map((sector) => {
  const request = driver.write(sector, new Uint8Array(1024).fill(7));
  driver.core.poll();
  device.drain();
  return driver.status(request);
});
console.log(JSON.stringify(statuses));
