import { BlockDevice } from '../../../devices/virtio/block/block.ts';
import * as blk from '../../../devices/virtio/block/constants.ts';
import type { RequestLimiter } from '../../../devices/virtio/limiter.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { Driver, type TransportName } from './driver.ts';
import { MemoryDisk } from './memory-disk.ts';
import type { DriverBuffer } from './ring.ts';

/** What blocks requests accept besides the ring's features. */
export const BLOCK_FEATURES = [
  28,
  29,
  blk.VIRTIO_BLK_F_SEG_MAX,
  blk.VIRTIO_BLK_F_RO,
  blk.VIRTIO_BLK_F_BLK_SIZE,
  blk.VIRTIO_BLK_F_FLUSH,
  blk.VIRTIO_BLK_F_DISCARD,
  blk.VIRTIO_BLK_F_WRITE_ZEROES,
];

/** A request in flight, and where its answer will be. */
export interface Request {
  readonly head: number;
  readonly status: number;
  readonly data: number;
  readonly length: number;
}

/** A guest's block driver. */
export class BlockDriver extends Driver {
  request(type: number, sector: number, data?: { length: number; writable: boolean; bytes?: Uint8Array }): Request {
    const header = this.allocate(16);
    const status = this.allocate(1, 1);
    this.memory.write(status, Uint8Array.of(0xee));
    const at = this.memory.offsetOf(header, 16);
    this.memory.view.setUint32(at, type, true);
    this.memory.view.setUint32(at + 4, 0, true);
    this.memory.view.setUint32(at + 8, sector % 2 ** 32, true);
    this.memory.view.setUint32(at + 12, Math.floor(sector / 2 ** 32), true);
    const buffers: DriverBuffer[] = [{ address: header, length: 16, writable: false }];
    let address = 0;
    if (data !== undefined && data.length > 0) {
      address = this.allocate(data.length);
      if (data.bytes !== undefined) this.memory.write(address, data.bytes);
      // In pieces, as a driver would whose pages are scattered.
      for (let done = 0; done < data.length; done += 4096) {
        buffers.push({ address: address + done, length: Math.min(4096, data.length - done), writable: data.writable });
      }
    }
    buffers.push({ address: status, length: 1, writable: true });
    return { head: this.ring().add(buffers), status, data: address, length: data?.length ?? 0 };
  }

  read(sector: number, length: number): Request {
    return this.request(blk.VIRTIO_BLK_T_IN, sector, { length, writable: true });
  }

  write(sector: number, bytes: Uint8Array): Request {
    return this.request(blk.VIRTIO_BLK_T_OUT, sector, { length: bytes.length, writable: false, bytes });
  }

  flush(): Request {
    return this.request(blk.VIRTIO_BLK_T_FLUSH, 0);
  }

  getId(length = 20): Request {
    return this.request(blk.VIRTIO_BLK_T_GET_ID, 0, { length, writable: true });
  }

  range(type: number, ...ranges: { sector: number; count: number; flags?: number }[]): Request {
    const bytes = new Uint8Array(16 * ranges.length);
    const view = new DataView(bytes.buffer);
    for (const [i, { sector, count, flags }] of ranges.entries()) {
      view.setBigUint64(16 * i, BigInt(sector), true);
      view.setUint32(16 * i + 8, count, true);
      view.setUint32(16 * i + 12, flags ?? 0, true);
    }
    return this.request(type, 0, { length: bytes.length, writable: false, bytes });
  }

  /** The status byte; 0xee while there is none. */
  status(request: Request): number {
    return this.memory.read(request.status, 1)[0] as number;
  }

  data(request: Request): Uint8Array {
    return this.memory.read(request.data, request.length);
  }
}

export interface BlockFixture {
  readonly disk: MemoryDisk;
  readonly device: BlockDevice;
  readonly driver: BlockDriver;
}

/** A guest with one disk in memory. */
export function blockFixture(
  transport: TransportName,
  options: {
    disk?: MemoryDisk;
    memorySize?: number;
    id?: string;
    flush?: boolean;
    limiter?: RequestLimiter;
  } = {},
): BlockFixture {
  const disk = options.disk ?? new MemoryDisk(1 << 20);
  const { limiter } = options;
  const device = new BlockDevice(disk, { id: options.id ?? 'rootfs', flush: options.flush ?? true, limiter });
  const driver = new BlockDriver(transport, device, GuestMemory.plain(options.memorySize ?? 4 << 20));
  return { disk, device, driver };
}
