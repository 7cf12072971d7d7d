import {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_F_VERSION_1,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
} from '../../../devices/virtio/constants.ts';
import { VirtioCore } from '../../../devices/virtio/core.ts';
import type { VirtioDevice } from '../../../devices/virtio/device.ts';
import { FaultLog } from '../../../devices/virtio/faults.ts';
import type { QueuePlace } from '../../../devices/virtio/queue.ts';
import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { MmioRegisters } from './mmio-registers.ts';
import { PciRegisters } from './pci-registers.ts';
import { DriverRing, GuestAllocator } from './ring.ts';

/** A transport as a guest's driver knows it. */
export interface DriverRegisters {
  readonly deviceType: number;
  status: number;
  readFeatures(select: number): number;
  writeFeatures(select: number, value: number): void;
  readonly queueCount: number;
  /** The largest size, 0 where there is no such queue. */
  maxSize(queue: number): number;
  placeQueue(queue: number, place: QueuePlace): void;
  enableQueue(queue: number): void;
  isEnabled(queue: number): boolean;
  resetQueue(queue: number): void;
  notify(queue: number): void;
  readonly generation: number;
  readConfig(offset: number, size: 1 | 2 | 4): number;
  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void;
  /** Makes interrupts arrive. Needed after each device reset. */
  prepareInterrupts(): void;
  /** Interrupts since it was last asked, and acknowledges them. */
  takeInterrupts(): { queue: boolean; config: boolean };
}

export type TransportName = 'mmio' | 'pci';
export const TRANSPORTS: readonly TransportName[] = ['mmio', 'pci'];

export interface DriverOptions {
  /** Bits to accept besides VERSION_1; those that are not offered are left out. */
  readonly features?: readonly number[];
  readonly queueSize?: number;
}

/** A guest with one device: brings it up as a driver does. */
export class Driver {
  readonly memory: GuestMemory;
  readonly core: VirtioCore;
  readonly registers: DriverRegisters;
  readonly warnings: string[] = [];
  allocator = new GuestAllocator(0x1000);
  rings: DriverRing[] = [];

  /** @param transport a fresh one of that kind; or one that is there already, with its device behind it */
  constructor(
    transport: TransportName | { core: VirtioCore; registers: DriverRegisters },
    device: VirtioDevice,
    memory: GuestMemory,
  ) {
    this.memory = memory;
    if (typeof transport === 'object') {
      this.core = transport.core;
      this.registers = transport.registers;
      return;
    }
    const log = new FaultLog(device.name, (message) => this.warnings.push(message));
    this.core = new VirtioCore(device, memory, log);
    this.registers = transport === 'mmio' ? MmioRegisters.over(this.core) : PciRegisters.over(this.core);
  }

  get features(): bigint {
    const { registers } = this;
    return (BigInt(registers.readFeatures(1)) << 32n) | BigInt(registers.readFeatures(0));
  }

  /** Section 3.1.1 of virtio 1.2, all steps. */
  start(options: DriverOptions = {}): void {
    const { registers } = this;
    registers.status = 0;
    registers.status = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    registers.status |= VIRTIO_CONFIG_S_DRIVER;
    const wanted = options.features ?? [VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC];
    const mask = [VIRTIO_F_VERSION_1, ...wanted].reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);
    this.accept(this.features & mask);
    this.setUpQueues(options.queueSize);
    registers.status |= VIRTIO_CONFIG_S_DRIVER_OK;
  }

  /** Writes the accepted features and FEATURES_OK. @returns whether the device agrees */
  accept(features: bigint): boolean {
    const { registers } = this;
    registers.writeFeatures(0, Number(features & 0xffff_ffffn));
    registers.writeFeatures(1, Number(features >> 32n));
    registers.status |= VIRTIO_CONFIG_S_FEATURES_OK;
    return (registers.status & VIRTIO_CONFIG_S_FEATURES_OK) !== 0;
  }

  setUpQueues(size = 64): void {
    this.registers.prepareInterrupts();
    this.rings = [];
    for (let i = 0; i < this.registers.queueCount; i++) this.setUpQueue(i, size);
  }

  setUpQueue(index: number, size = 64): DriverRing {
    const { registers, core } = this;
    const ring = new DriverRing(this.memory, this.allocator, Math.min(size, registers.maxSize(index)), {
      eventIndex: (core.features & (1n << BigInt(VIRTIO_RING_F_EVENT_IDX))) !== 0n,
    });
    this.rings[index] = ring;
    registers.placeQueue(index, ring.place);
    registers.enableQueue(index);
    return ring;
  }

  ring(index = 0): DriverRing {
    return this.rings[index] as DriverRing;
  }

  /** Room for data in guest memory. */
  allocate(length: number, alignment = 16): number {
    return this.allocator.take(length, alignment);
  }
}
