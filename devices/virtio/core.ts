import type { GuestMemory } from '../../lib/memory/guest-memory.ts';
import {
  feature,
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FAILED,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
} from './constants.ts';
import type { VirtioDevice, VirtioHost } from './device.ts';
import { Fault, type FaultLog } from './faults.ts';
import { VirtQueue } from './queue.ts';
import { QueueRegisters } from './queue-registers.ts';

/** What every device offers besides its own features. */
const COMMON_FEATURES =
  feature(VIRTIO_RING_F_INDIRECT_DESC) |
  feature(VIRTIO_RING_F_EVENT_IDX) |
  feature(VIRTIO_F_VERSION_1) |
  feature(VIRTIO_F_RING_RESET);

const STATUS_BITS =
  VIRTIO_CONFIG_S_ACKNOWLEDGE |
  VIRTIO_CONFIG_S_DRIVER |
  VIRTIO_CONFIG_S_FEATURES_OK |
  VIRTIO_CONFIG_S_DRIVER_OK |
  VIRTIO_CONFIG_S_FAILED;

/** How interrupts leave: a transport's own affair. */
export interface InterruptSink {
  /** Used buffers in a queue. */
  queue(index: number): void;
  /** A change of configuration or status. */
  config(): void;
}

/** Told of a device's life by whoever gives it its eventfds. */
export interface LifeListener {
  /** DRIVER_OK: from now on the driver notifies. */
  activated(): void;
}

/**
 * What all transports have in common (virtio 1.2 sections 2 and 3): status, feature negotiation, queues, and the device behind them.
 *
 * Whatever order a driver writes registers in, the state here stays one that the device can live with; what makes no sense is
 * ignored. `interrupts` is set by the transport.
 */
export class VirtioCore implements VirtioHost {
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  readonly queues: readonly VirtQueue[];
  readonly registers: readonly QueueRegisters[];
  readonly faults: FaultLog;
  readonly offered: bigint;
  interrupts: InterruptSink | undefined;
  listener: LifeListener | undefined;
  /** Increases whenever the configuration space changes (section 2.5.1). */
  configGeneration = 0;
  #accepted = 0n;
  #status = 0;
  /** The device has been activated and not been reset since. */
  #running = false;

  constructor(device: VirtioDevice, memory: GuestMemory, faults: FaultLog) {
    this.device = device;
    this.memory = memory;
    this.faults = faults;
    this.offered = device.features | COMMON_FEATURES;
    const onFault = (fault: Fault): void => this.needsReset(fault);
    this.queues = device.queueSizes.map((size, index) => new VirtQueue(index, size, memory, onFault));
    this.registers = device.queueSizes.map((size) => new QueueRegisters(size));
  }

  /** The device status field. */
  get status(): number {
    return this.#status;
  }

  get features(): bigint {
    return this.#accepted;
  }

  /** The driver is ready, and the device has not given up. */
  get active(): boolean {
    return (this.#status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)) === VIRTIO_CONFIG_S_DRIVER_OK;
  }

  /** 32 of the offered features; `select` counts by 32. */
  offeredWord(select: number): number {
    return select < 2 ? Number((this.offered >> BigInt(32 * select)) & 0xffff_ffffn) : 0;
  }

  /** 32 of the features that the driver has accepted, as it wrote them. */
  acceptedWord(select: number): number {
    return select < 2 ? Number((this.#accepted >> BigInt(32 * select)) & 0xffff_ffffn) : 0;
  }

  /** The driver accepts 32 features. Fixed once FEATURES_OK is set (section 3.1.1). */
  acceptWord(select: number, value: number): void {
    const settled = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
    if (select > 1 || (this.#status & settled) !== 0) return;
    const shift = BigInt(32 * select);
    this.#accepted = (this.#accepted & ~(0xffff_ffffn << shift)) | (BigInt(value) << shift);
  }

  /** The driver writes the status field: 0 resets, bits are added, none is taken away (section 2.1.1). */
  writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    const added = value & STATUS_BITS & ~this.#status;
    let status = this.#status | (added & ~(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK));
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) !== 0 && this.#acceptable()) status |= VIRTIO_CONFIG_S_FEATURES_OK;
    this.#status = status;
    const settled = (status & VIRTIO_CONFIG_S_FEATURES_OK) !== 0;
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) !== 0 && settled) this.#start();
  }

  /** Where the driver says where a queue lies, as long as the queue is not in use. */
  configurable(queue: number): QueueRegisters | undefined {
    const registers = this.registers[queue];
    if (registers === undefined || registers.enabled) return undefined;
    return registers;
  }

  /** The driver enables a queue, before DRIVER_OK, or again after having reset it. */
  enableQueue(index: number): void {
    const registers = this.configurable(index);
    const ready = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_NEEDS_RESET;
    if (registers === undefined || (this.#status & ready) !== VIRTIO_CONFIG_S_FEATURES_OK) return;
    const fault = this.queues[index]!.enable(registers, {
      indirect: this.#has(VIRTIO_RING_F_INDIRECT_DESC),
      eventIndex: this.#has(VIRTIO_RING_F_EVENT_IDX),
    });
    if (fault !== Fault.None) this.needsReset(fault);
    else registers.enabled = true;
  }

  /** The driver resets one queue. Only where VIRTIO_F_RING_RESET was negotiated (section 2.6.1). */
  resetQueue(index: number): void {
    if (!this.#has(VIRTIO_F_RING_RESET)) return;
    this.stopQueue(index);
    this.registers[index]?.reset();
  }

  /** The device lets go of one queue; where it lies stays known. */
  stopQueue(index: number): void {
    const registers = this.registers[index];
    if (registers === undefined || !registers.enabled) return;
    if (this.#running) this.device.resetQueue(index);
    this.queues[index]!.disable();
    registers.enabled = false;
  }

  /** The driver notifies through a register. */
  notify(index: number): void {
    const queue = this.queues[index];
    if (queue?.live && queue.watched && this.active) this.device.notify(index);
  }

  /** Looks at the rings, so that no notification is needed. @returns whether there was anything */
  poll(): boolean {
    if (!this.active) return false;
    let found = false;
    for (let i = 0; i < this.queues.length; i++) {
      const queue = this.queues[i]!;
      if (!queue.watched || !queue.pending) continue;
      this.device.notify(i);
      found = true;
    }
    return found;
  }

  /** Asks for notifications: nobody polls from now on. @returns whether there is something already */
  listen(): boolean {
    if (!this.active) return false;
    let found = false;
    for (let i = 0; i < this.queues.length; i++) {
      const queue = this.queues[i]!;
      if (queue.watched && queue.listen()) found = true;
    }
    return found;
  }

  /** Says that notifications are not needed: from now on `poll` is called. */
  ignore(): void {
    if (!this.active) return;
    for (let i = 0; i < this.queues.length; i++) this.queues[i]!.ignore();
  }

  interrupt(queue: number): void {
    this.interrupts?.queue(queue);
  }

  configChanged(): void {
    this.configGeneration = (this.configGeneration + 1) & 0xff;
    // Section 2.1.2: before DRIVER_OK there are no notifications.
    if ((this.#status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.interrupts?.config();
  }

  needsReset(fault: Fault): void {
    if ((this.#status & VIRTIO_CONFIG_S_NEEDS_RESET) !== 0) return;
    this.#status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    for (const queue of this.queues) queue.live = false;
    this.faults.report(fault);
    if ((this.#status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.interrupts?.config();
  }

  /** Device reset: everything as at the start (section 2.4). */
  reset(): void {
    if (this.#running) this.device.reset();
    this.#running = false;
    for (const queue of this.queues) queue.disable();
    for (const registers of this.registers) registers.reset();
    this.#accepted = 0n;
    this.#status = 0;
  }

  #start(): void {
    this.#status |= VIRTIO_CONFIG_S_DRIVER_OK;
    if (!this.active) return;
    this.#running = true;
    this.device.activate(this);
    this.listener?.activated();
  }

  /** Section 2.2.2: no more than was offered, and VERSION_1, for this is no legacy device. */
  #acceptable(): boolean {
    return (this.#accepted & ~this.offered) === 0n && this.#has(VIRTIO_F_VERSION_1);
  }

  #has(bit: number): boolean {
    return (this.#accepted & feature(bit)) !== 0n;
  }
}
