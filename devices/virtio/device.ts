import type { GuestMemory } from '../../lib/memory/guest-memory.ts';
import type { AccessSize } from '../bus.ts';
import type { Fault } from './faults.ts';
import type { VirtQueue } from './queue.ts';

/** What a device gets from whatever carries it: no more than this, so that it cannot tell mmio from PCI. */
export interface VirtioHost {
  readonly memory: GuestMemory;
  readonly queues: readonly VirtQueue[];
  /** The features that the driver accepted, all of which were offered. */
  readonly features: bigint;
  /** Tells the driver of used buffers in a queue. For when `publish` says that it wants to know. */
  interrupt(queue: number): void;
  /** Tells the driver that the configuration space has changed. */
  configChanged(): void;
  /** Gives up until the driver resets the device. */
  needsReset(fault: Fault): void;
}

/** A virtio device, whatever carries it: its type, features, configuration space, and what it does with its queues. */
export interface VirtioDevice {
  /** `VIRTIO_ID_*` */
  readonly type: number;
  /** How the user knows it, as `drive "rootfs"`; begins warnings. */
  readonly name: string;
  /** What it offers; features of ring and transport are added to these. */
  readonly features: bigint;
  /** The largest size of each queue: powers of two. */
  readonly queueSizes: readonly number[];
  /** Reads the configuration space, where bytes beyond its end are 0. `size` is 1, 2 or 4. */
  readConfig(offset: number, size: AccessSize): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
  /** The driver is ready (DRIVER_OK): queues that it enabled are live. */
  activate(host: VirtioHost): void;
  /** The driver resets: on return, nothing of the old life touches guest memory or queues any more. */
  reset(): void;
  /** The driver resets one queue (VIRTIO_F_RING_RESET): on return, that queue and its buffers are not touched any more. */
  resetQueue(queue: number): void;
  /** Buffers are available in a queue. Called until the queue is empty or not `watched`. */
  notify(queue: number): void;
}

/** The configuration space of most devices: bytes that the device writes and the driver reads. */
export class ConfigSpace {
  readonly view: DataView;

  constructor(size: number) {
    this.view = new DataView(new ArrayBuffer(size));
  }

  read(offset: number, size: AccessSize): number {
    const { view } = this;
    if (offset + size > view.byteLength) return this.#readAcrossEnd(offset, size);
    if (size === 1) return view.getUint8(offset);
    return size === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
  }

  #readAcrossEnd(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) {
      if (offset + i < this.view.byteLength) value |= this.view.getUint8(offset + i) << (8 * i);
    }
    return value >>> 0;
  }
}
