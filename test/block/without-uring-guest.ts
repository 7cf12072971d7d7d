// Run by create.test.ts on a host that forbids io_uring: two Async drives, a request to each, and what was said about it.
import { BlockDevice } from '../../devices/virtio/block/block.ts';
import { DriveFactory } from '../../lib/block/create.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { HostMemory } from '../../lib/memory/host-memory.ts';
import { BLOCK_FEATURES, BlockDriver } from '../helpers/virtio/block-driver.ts';

const warnings: string[] = [];
const memory = new HostMemory(2 << 20, 'None');
const factory = new DriveFactory(new EventLoop(), memory, (line) => warnings.push(line));
const statuses = process.argv.slice(2).map((path, i) => {
  const { device } = factory.create(
    {
      id: `disk${i}`,
      isRoot: false,
      partuuid: undefined,
      cacheType: 'Writeback',
      backend: { kind: 'file', path, readOnly: false, ioEngine: 'Async', rateLimiter: undefined },
    },
    `/drives/${i}`,
  );
  if (!(device instanceof BlockDevice)) throw new Error('no block device');
  const driver = new BlockDriver('mmio', device, memory.guest);
  driver.start({ features: BLOCK_FEATURES });
  const request = driver.read(0, 512);
  driver.core.poll();
  return driver.status(request);
});
console.log(JSON.stringify({ warnings, statuses }));
