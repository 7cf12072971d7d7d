import type { BusDevice } from '../../../devices/bus.ts';
import type { VirtioCore } from '../../../devices/virtio/core.ts';
import * as reg from '../../../devices/virtio/mmio.ts';
import type { QueuePlace } from '../../../devices/virtio/queue.ts';
import type { DriverRegisters } from './driver.ts';

/** virtio-mmio as a driver knows it, virtio 1.2 section 4.2.3. */
export class MmioRegisters implements DriverRegisters {
  readonly window: Pick<BusDevice, 'read' | 'write'>;
  /** Edges of the interrupt line that have come. */
  edges = 0;

  /** A window of its own for a device. */
  static over(core: VirtioCore): MmioRegisters {
    let registers: MmioRegisters | undefined;
    const trigger = () => {
      if (registers !== undefined) registers.edges++;
    };
    registers = new MmioRegisters(new reg.VirtioMmio(core, { trigger }));
    return registers;
  }

  constructor(window: Pick<BusDevice, 'read' | 'write'>) {
    this.window = window;
    if (this.read(reg.VIRTIO_MMIO_MAGIC_VALUE) !== 0x7472_6976) throw new Error('no virtio device');
    if (this.read(reg.VIRTIO_MMIO_VERSION) !== 2) throw new Error('a legacy device');
  }

  read(offset: number): number {
    return this.window.read(offset, 4);
  }

  write(offset: number, value: number): void {
    this.window.write(offset, 4, value >>> 0);
  }

  get deviceType(): number {
    return this.read(reg.VIRTIO_MMIO_DEVICE_ID);
  }

  get status(): number {
    return this.read(reg.VIRTIO_MMIO_STATUS);
  }

  set status(value: number) {
    this.write(reg.VIRTIO_MMIO_STATUS, value);
  }

  readFeatures(select: number): number {
    this.write(reg.VIRTIO_MMIO_DEVICE_FEATURES_SEL, select);
    return this.read(reg.VIRTIO_MMIO_DEVICE_FEATURES);
  }

  writeFeatures(select: number, value: number): void {
    this.write(reg.VIRTIO_MMIO_DRIVER_FEATURES_SEL, select);
    this.write(reg.VIRTIO_MMIO_DRIVER_FEATURES, value);
  }

  get queueCount(): number {
    let count = 0;
    while (this.maxSize(count) > 0) count++;
    return count;
  }

  maxSize(queue: number): number {
    this.write(reg.VIRTIO_MMIO_QUEUE_SEL, queue);
    return this.read(reg.VIRTIO_MMIO_QUEUE_NUM_MAX);
  }

  placeQueue(queue: number, place: QueuePlace): void {
    this.write(reg.VIRTIO_MMIO_QUEUE_SEL, queue);
    this.write(reg.VIRTIO_MMIO_QUEUE_NUM, place.size);
    this.#write64(reg.VIRTIO_MMIO_QUEUE_DESC_LOW, place.descriptors);
    this.#write64(reg.VIRTIO_MMIO_QUEUE_AVAIL_LOW, place.available);
    this.#write64(reg.VIRTIO_MMIO_QUEUE_USED_LOW, place.used);
  }

  enableQueue(queue: number): void {
    this.write(reg.VIRTIO_MMIO_QUEUE_SEL, queue);
    this.write(reg.VIRTIO_MMIO_QUEUE_READY, 1);
  }

  isEnabled(queue: number): boolean {
    this.write(reg.VIRTIO_MMIO_QUEUE_SEL, queue);
    return this.read(reg.VIRTIO_MMIO_QUEUE_READY) === 1;
  }

  resetQueue(queue: number): void {
    this.write(reg.VIRTIO_MMIO_QUEUE_SEL, queue);
    this.write(reg.VIRTIO_MMIO_QUEUE_RESET, 1);
  }

  notify(queue: number): void {
    this.write(reg.VIRTIO_MMIO_QUEUE_NOTIFY, queue);
  }

  get generation(): number {
    return this.read(reg.VIRTIO_MMIO_CONFIG_GENERATION);
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    return this.window.read(reg.VIRTIO_MMIO_CONFIG + offset, size);
  }

  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    this.window.write(reg.VIRTIO_MMIO_CONFIG + offset, size, value);
  }

  prepareInterrupts(): void {
    this.edges = 0;
  }

  takeInterrupts(): { queue: boolean; config: boolean } {
    const status = this.edges > 0 ? this.read(reg.VIRTIO_MMIO_INTERRUPT_STATUS) : 0;
    this.edges = 0;
    this.write(reg.VIRTIO_MMIO_INTERRUPT_ACK, status);
    return {
      queue: (status & reg.VIRTIO_MMIO_INT_VRING) !== 0,
      config: (status & reg.VIRTIO_MMIO_INT_CONFIG) !== 0,
    };
  }

  #write64(offset: number, value: number): void {
    this.write(offset, value % 2 ** 32);
    this.write(offset + 4, Math.floor(value / 2 ** 32));
  }
}
