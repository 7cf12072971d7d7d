import type { AccessSize, BusDevice, InterruptLine } from '../bus.ts';
import type { InterruptSink, VirtioCore } from './core.ts';
import type { QueueRegisters } from './queue-registers.ts';

/** Registers of virtio-mmio version 2, virtio 1.2 section 4.2.2 (Linux: <linux/virtio_mmio.h>). Offsets in bytes. */
export const VIRTIO_MMIO_MAGIC_VALUE = 0x000;
export const VIRTIO_MMIO_VERSION = 0x004;
export const VIRTIO_MMIO_DEVICE_ID = 0x008;
export const VIRTIO_MMIO_VENDOR_ID = 0x00c;
export const VIRTIO_MMIO_DEVICE_FEATURES = 0x010;
export const VIRTIO_MMIO_DEVICE_FEATURES_SEL = 0x014;
export const VIRTIO_MMIO_DRIVER_FEATURES = 0x020;
export const VIRTIO_MMIO_DRIVER_FEATURES_SEL = 0x024;
export const VIRTIO_MMIO_QUEUE_SEL = 0x030;
export const VIRTIO_MMIO_QUEUE_NUM_MAX = 0x034;
export const VIRTIO_MMIO_QUEUE_NUM = 0x038;
export const VIRTIO_MMIO_QUEUE_READY = 0x044;
export const VIRTIO_MMIO_QUEUE_NOTIFY = 0x050;
export const VIRTIO_MMIO_INTERRUPT_STATUS = 0x060;
export const VIRTIO_MMIO_INTERRUPT_ACK = 0x064;
export const VIRTIO_MMIO_STATUS = 0x070;
export const VIRTIO_MMIO_QUEUE_DESC_LOW = 0x080;
export const VIRTIO_MMIO_QUEUE_DESC_HIGH = 0x084;
export const VIRTIO_MMIO_QUEUE_AVAIL_LOW = 0x090;
export const VIRTIO_MMIO_QUEUE_AVAIL_HIGH = 0x094;
export const VIRTIO_MMIO_QUEUE_USED_LOW = 0x0a0;
export const VIRTIO_MMIO_QUEUE_USED_HIGH = 0x0a4;
export const VIRTIO_MMIO_SHM_SEL = 0x0ac;
export const VIRTIO_MMIO_SHM_LEN_LOW = 0x0b0;
export const VIRTIO_MMIO_SHM_LEN_HIGH = 0x0b4;
export const VIRTIO_MMIO_SHM_BASE_LOW = 0x0b8;
export const VIRTIO_MMIO_SHM_BASE_HIGH = 0x0bc;
/** `QueueReset` of virtio 1.2, which Linux's header does not name. */
export const VIRTIO_MMIO_QUEUE_RESET = 0x0c0;
export const VIRTIO_MMIO_CONFIG_GENERATION = 0x0fc;
export const VIRTIO_MMIO_CONFIG = 0x100;

/** Bits of `InterruptStatus`. */
export const VIRTIO_MMIO_INT_VRING = 1;
export const VIRTIO_MMIO_INT_CONFIG = 2;

/** "virt", little-endian. */
const MAGIC = 0x7472_6976;
const VERSION = 2;
/** Vendor: any value will do (section 4.2.2.1 leaves it open); virtio's PCI vendor id. */
const VENDOR = 0x1af4;

/** The register window of one device on the memory bus, 4 KiB. */
export class VirtioMmio implements BusDevice, InterruptSink {
  readonly core: VirtioCore;
  readonly #line: InterruptLine;
  #deviceFeaturesSelect = 0;
  #driverFeaturesSelect = 0;
  #queueSelect = 0;
  #interruptStatus = 0;

  constructor(core: VirtioCore, line: InterruptLine) {
    this.core = core;
    this.#line = line;
    core.interrupts = this;
  }

  queue(): void {
    this.#interruptStatus |= VIRTIO_MMIO_INT_VRING;
    this.#line.trigger();
  }

  config(): void {
    this.#interruptStatus |= VIRTIO_MMIO_INT_CONFIG;
    this.#line.trigger();
  }

  read(offset: number, size: AccessSize): number {
    const { core } = this;
    if (offset >= VIRTIO_MMIO_CONFIG) return core.device.readConfig(offset - VIRTIO_MMIO_CONFIG, size);
    // Section 4.2.2.2: the driver uses aligned accesses of 32 bits.
    if (size !== 4) return 0;
    switch (offset) {
      case VIRTIO_MMIO_MAGIC_VALUE:
        return MAGIC;
      case VIRTIO_MMIO_VERSION:
        return VERSION;
      case VIRTIO_MMIO_DEVICE_ID:
        return core.device.type;
      case VIRTIO_MMIO_VENDOR_ID:
        return VENDOR;
      case VIRTIO_MMIO_DEVICE_FEATURES:
        return core.offeredWord(this.#deviceFeaturesSelect);
      case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return core.registers[this.#queueSelect]?.maxSize ?? 0;
      case VIRTIO_MMIO_QUEUE_READY:
        return Number(core.registers[this.#queueSelect]?.enabled ?? false);
      case VIRTIO_MMIO_INTERRUPT_STATUS:
        return this.#interruptStatus;
      case VIRTIO_MMIO_STATUS:
        return core.status;
      case VIRTIO_MMIO_CONFIG_GENERATION:
        return core.configGeneration;
      // Section 4.2.2.1: a shared memory region that is not there has length −1.
      case VIRTIO_MMIO_SHM_LEN_LOW:
      case VIRTIO_MMIO_SHM_LEN_HIGH:
      case VIRTIO_MMIO_SHM_BASE_LOW:
      case VIRTIO_MMIO_SHM_BASE_HIGH:
        return 0xffff_ffff;
      default:
        return 0;
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    const { core } = this;
    if (offset >= VIRTIO_MMIO_CONFIG) {
      core.device.writeConfig(offset - VIRTIO_MMIO_CONFIG, size, value);
      return;
    }
    if (size !== 4) return;
    switch (offset) {
      case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        this.#deviceFeaturesSelect = value;
        break;
      case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        this.#driverFeaturesSelect = value;
        break;
      case VIRTIO_MMIO_DRIVER_FEATURES:
        core.acceptWord(this.#driverFeaturesSelect, value);
        break;
      case VIRTIO_MMIO_QUEUE_SEL:
        this.#queueSelect = value;
        break;
      case VIRTIO_MMIO_QUEUE_READY:
        this.#writeReady(value);
        break;
      case VIRTIO_MMIO_QUEUE_NOTIFY:
        core.notify(value);
        break;
      case VIRTIO_MMIO_INTERRUPT_ACK:
        this.#interruptStatus &= ~value;
        break;
      case VIRTIO_MMIO_STATUS:
        core.writeStatus(value & 0xff);
        if (core.status === 0) this.#interruptStatus = 0;
        break;
      case VIRTIO_MMIO_QUEUE_RESET:
        if (value === 1) core.resetQueue(this.#queueSelect);
        break;
      default: {
        const registers = core.configurable(this.#queueSelect);
        if (registers !== undefined) writePlace(registers, offset, value);
      }
    }
  }

  /** Section 4.2.2.2: 1 enables the queue; 0 stops it, which older drivers do when they go. */
  #writeReady(value: number): void {
    if (value === 1) this.core.enableQueue(this.#queueSelect);
    else if (value === 0) this.core.stopQueue(this.#queueSelect);
  }
}

function writePlace(registers: QueueRegisters, offset: number, value: number): void {
  switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
      registers.size = value;
      break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
      registers.descriptorsLow = value;
      break;
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
      registers.descriptorsHigh = value;
      break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
      registers.availableLow = value;
      break;
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
      registers.availableHigh = value;
      break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
      registers.usedLow = value;
      break;
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
      registers.usedHigh = value;
      break;
    default:
      break;
  }
}
