import {
  HEADER_SIZE,
  RECEIVE_QUEUE,
  TRANSMIT_QUEUE,
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_F_MTU,
  VIRTIO_NET_F_STATUS,
} from '../../../devices/virtio/net/constants.ts';
import { NetDevice, type NetOptions } from '../../../devices/virtio/net/net.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { Driver, type TransportName } from './driver.ts';
import type { DriverBuffer } from './ring.ts';
import { Wire } from './wire.ts';

const OFFLOAD_BITS = [
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_HOST_TSO4,
] as const;
export const SOME_OFFLOADS = OFFLOAD_BITS.reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);

/** What drivers of networks accept: the ring's features, and those of the device but for merging buffers. */
export const NET_FEATURES = [28, 29, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS];
export const MERGING = [...NET_FEATURES, VIRTIO_NET_F_MRG_RXBUF];

/** A frame as the guest's driver sees it. */
export interface GuestFrame {
  readonly header: Uint8Array;
  readonly bytes: Uint8Array;
}

/** A guest's network driver. */
export class NetDriver extends Driver {
  readonly #posted = new Map<number, readonly DriverBuffer[]>();

  /** Makes buffers of so many bytes each available; `piece` splits each into descriptors. */
  post(count: number, length: number, piece = length): void {
    for (let i = 0; i < count; i++) {
      const address = this.allocate(length);
      const buffers: DriverBuffer[] = [];
      for (let done = 0; done < length; done += piece) {
        buffers.push({ address: address + done, length: Math.min(piece, length - done), writable: true });
      }
      this.#posted.set(this.ring(RECEIVE_QUEUE).add(buffers), buffers);
    }
  }

  /** What has come, put together from as many buffers as each header says. */
  received(): GuestFrame[] {
    const used = this.ring(RECEIVE_QUEUE).collect();
    const frames: GuestFrame[] = [];
    while (used.length > 0) {
      const parts: Uint8Array[] = [];
      let left = 1;
      for (let i = 0; i < left; i++) {
        const element = used.shift();
        if (element === undefined) throw new Error('fewer buffers than the header says');
        const bytes = this.#contents(element.head, element.length);
        parts.push(bytes);
        if (i === 0) left = bytes[10]! | (bytes[11]! << 8);
      }
      const all = Uint8Array.from(Buffer.concat(parts));
      frames.push({ header: all.subarray(0, HEADER_SIZE), bytes: all.subarray(HEADER_SIZE) });
    }
    return frames;
  }

  /** Makes a frame available for sending, header and all in one buffer or cut after `cuts` bytes each. @returns its chain */
  send(bytes: Uint8Array, header: Uint8Array = new Uint8Array(HEADER_SIZE), ...cuts: number[]): number {
    const all = Buffer.concat([header, bytes]);
    const address = this.allocate(all.length);
    this.memory.write(address, all);
    const buffers: DriverBuffer[] = [];
    let done = 0;
    for (const cut of [...cuts, all.length]) {
      const length = Math.min(cut, all.length - done);
      if (length > 0) buffers.push({ address: address + done, length, writable: false });
      done += length;
    }
    return this.ring(TRANSMIT_QUEUE).add(buffers);
  }

  /** Chains of sent frames that came back. */
  sent(): number[] {
    return this.ring(TRANSMIT_QUEUE)
      .collect()
      .map(({ head }) => head);
  }

  #contents(head: number, length: number): Uint8Array {
    const parts = (this.#posted.get(head) ?? []).map((buffer) => this.memory.read(buffer.address, buffer.length));
    this.#posted.delete(head);
    return Uint8Array.from(Buffer.concat(parts).subarray(0, length));
  }
}

export interface NetFixture {
  readonly wire: Wire;
  readonly device: NetDevice;
  readonly driver: NetDriver;
}

/** A guest with one network that ends in a list. */
export function netFixture(
  transport: TransportName,
  options: Partial<NetOptions> & { offloads?: bigint; batch?: number; memorySize?: number } = {},
): NetFixture {
  const memory = GuestMemory.plain(options.memorySize ?? 4 << 20);
  const wire = new Wire(memory, { features: options.offloads ?? 0n, batch: options.batch ?? 8 });
  const device = new NetDevice(wire, { id: 'eth0', ...options });
  return { wire, device, driver: new NetDriver(transport, device, memory) };
}
