import type { AccessSize, BusDevice } from '../../bus.ts';
import type { BarSpace } from '../../pci/bar-space.ts';
import {
  PCI_CAP_ID_VNDR,
  PCI_CLASS_COMMUNICATION_OTHER,
  PCI_CLASS_MEMORY_OTHER,
  PCI_CLASS_NETWORK_ETHERNET,
  PCI_CLASS_NOT_DEFINED_OTHER,
  PCI_CLASS_STORAGE_OTHER,
} from '../../pci/constants.ts';
import { type PciConfigurable, PciFunction } from '../../pci/function.ts';
import { type MsiSink, Msix } from '../../pci/msix.ts';
import {
  VIRTIO_ID_BALLOON,
  VIRTIO_ID_BLOCK,
  VIRTIO_ID_CONSOLE,
  VIRTIO_ID_MEM,
  VIRTIO_ID_NET,
  VIRTIO_ID_PMEM,
} from '../constants.ts';
import type { InterruptSink, VirtioCore } from '../core.ts';
import { CommonConfig } from './common-config.ts';
import {
  NOTIFY_MULTIPLIER,
  PAGE_COMMON,
  PAGE_DEVICE,
  PAGE_ISR,
  PAGE_MSIX_PENDING,
  PAGE_MSIX_TABLE,
  PAGE_NOTIFY,
  PAGE_SHIFT,
  PAGE_SIZE,
  VIRTIO_MSI_NO_VECTOR,
  VIRTIO_PCI_BAR_SIZE,
  VIRTIO_PCI_CAP_BAR,
  VIRTIO_PCI_CAP_CFG_TYPE,
  VIRTIO_PCI_CAP_COMMON_CFG,
  VIRTIO_PCI_CAP_DEVICE_CFG,
  VIRTIO_PCI_CAP_ISR_CFG,
  VIRTIO_PCI_CAP_LEN,
  VIRTIO_PCI_CAP_LENGTH,
  VIRTIO_PCI_CAP_NOTIFY_CFG,
  VIRTIO_PCI_CAP_OFFSET,
  VIRTIO_PCI_CAP_PCI_CFG,
  VIRTIO_PCI_COMMON_SIZE,
  VIRTIO_PCI_ISR_CONFIG,
  VIRTIO_PCI_ISR_QUEUE,
  VIRTIO_PCI_NOTIFY_CAP_MULT,
} from './layout.ts';

/** Section 4.1.2: vendor, and device id less the device type. */
const VENDOR = 0x1af4;
const FIRST_DEVICE = 0x1040;
/** Section 4.1.2.1: at least 1 for a device that is not transitional; subsystem id at least 0x40. */
const REVISION = 1;
const SUBSYSTEM = 0x40;

const CLASSES: Readonly<Record<number, number>> = {
  [VIRTIO_ID_NET]: PCI_CLASS_NETWORK_ETHERNET,
  [VIRTIO_ID_BLOCK]: PCI_CLASS_STORAGE_OTHER,
  [VIRTIO_ID_CONSOLE]: PCI_CLASS_COMMUNICATION_OTHER,
  [VIRTIO_ID_BALLOON]: PCI_CLASS_MEMORY_OTHER,
  [VIRTIO_ID_PMEM]: PCI_CLASS_MEMORY_OTHER,
  [VIRTIO_ID_MEM]: PCI_CLASS_MEMORY_OTHER,
};

/** Where a transport's notification addresses are, for those who catch them before they become exits. */
export interface NotifyListener {
  /** Queue n is notified at `address + 4 × n` from now on; undefined: nowhere. */
  notifyMoved(address: number | undefined): void;
}

/**
 * One virtio device as a PCI function: capabilities that point into BAR 0, and MSI-X. It has no interrupt pin.
 *
 * Vectors: as many as queues, and one for changes of configuration; which is which is the driver's choice.
 */
export class VirtioPci implements PciConfigurable, BusDevice, InterruptSink {
  readonly core: VirtioCore;
  readonly msix: Msix;
  listener: NotifyListener | undefined;
  readonly #function: PciFunction;
  readonly #common: CommonConfig;
  /** Offset of the VIRTIO_PCI_CAP_PCI_CFG capability, whose data stand for a piece of the BAR. */
  readonly #window: number;
  #isr = 0;

  /**
   * @param barAddress guest-physical, a multiple of `VIRTIO_PCI_BAR_SIZE`
   * @param messages carries the device's `vectorCountOf(core)` interrupts
   */
  constructor(core: VirtioCore, space: BarSpace, barAddress: number, messages: MsiSink) {
    this.core = core;
    const { type } = core.device;
    this.#function = new PciFunction(
      {
        vendor: VENDOR,
        device: FIRST_DEVICE + type,
        revision: REVISION,
        classCode: CLASSES[type] ?? PCI_CLASS_NOT_DEFINED_OTHER,
        subsystemVendor: VENDOR,
        subsystem: SUBSYSTEM,
      },
      space,
    );
    const { config } = this.#function;
    const vectors = vectorCountOf(core);
    this.#common = new CommonConfig(core, vectors);
    this.#addCapability(VIRTIO_PCI_CAP_COMMON_CFG, PAGE_COMMON, VIRTIO_PCI_COMMON_SIZE);
    this.#addCapability(VIRTIO_PCI_CAP_ISR_CFG, PAGE_ISR, 1);
    this.#addCapability(VIRTIO_PCI_CAP_DEVICE_CFG, PAGE_DEVICE, PAGE_SIZE);
    this.#addCapability(
      VIRTIO_PCI_CAP_NOTIFY_CFG,
      PAGE_NOTIFY,
      core.queues.length * NOTIFY_MULTIPLIER,
      NOTIFY_MULTIPLIER,
    );
    this.#window = this.#addCapability(VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0);
    config.allow(this.#window + VIRTIO_PCI_CAP_BAR, 1, 0xff);
    config.allow(this.#window + VIRTIO_PCI_CAP_OFFSET, 4, 0xffff_ffff);
    config.allow(this.#window + VIRTIO_PCI_CAP_LENGTH, 4, 0xffff_ffff);
    this.msix = new Msix(config, vectors, PAGE_MSIX_TABLE * PAGE_SIZE, PAGE_MSIX_PENDING * PAGE_SIZE, messages);
    const moved = (address: number | undefined): void => {
      this.listener?.notifyMoved(address === undefined ? undefined : address + PAGE_NOTIFY * PAGE_SIZE);
    };
    this.#function.setBar({ size: VIRTIO_PCI_BAR_SIZE, device: this, moved }, barAddress);
    core.interrupts = this;
  }

  /** Where queue 0 is notified, while the guest lets the BAR be seen. */
  get notifyAddress(): number | undefined {
    const address = this.#function.barAddress;
    return address === undefined ? undefined : address + PAGE_NOTIFY * PAGE_SIZE;
  }

  readConfig(offset: number, size: AccessSize): number {
    const window = this.#windowAt(offset);
    return window === undefined ? this.#function.readConfig(offset, size) : this.read(window, this.#windowSize);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    const window = this.#windowAt(offset);
    if (window !== undefined) {
      const width = this.#windowSize;
      this.write(window, width, width === 4 ? value : value & (2 ** (8 * width) - 1));
      return;
    }
    const wasMaster = this.#function.isMaster;
    this.#function.writeConfig(offset, size, value);
    if (wasMaster && !this.#function.isMaster) this.#loseMemory();
    this.msix.configWritten(offset, offset + size);
  }

  /** BAR 0. */
  read(offset: number, size: AccessSize): number {
    const at = offset & (PAGE_SIZE - 1);
    switch (offset >>> PAGE_SHIFT) {
      case PAGE_COMMON:
        return this.#common.read(at, size);
      case PAGE_ISR:
        return at === 0 ? this.#takeIsr() : 0;
      case PAGE_DEVICE:
        return this.core.device.readConfig(at, size);
      case PAGE_MSIX_TABLE:
        return this.msix.readTable(at, size);
      case PAGE_MSIX_PENDING:
        return this.msix.readPending(at, size);
      default:
        return 0;
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    const at = offset & (PAGE_SIZE - 1);
    switch (offset >>> PAGE_SHIFT) {
      case PAGE_COMMON:
        this.#common.write(at, size, value);
        break;
      case PAGE_DEVICE:
        this.core.device.writeConfig(at, size, value);
        break;
      case PAGE_NOTIFY:
        this.core.notify(Math.floor(at / NOTIFY_MULTIPLIER));
        break;
      case PAGE_MSIX_TABLE:
        this.msix.writeTable(at, size, value);
        break;
      default:
        break;
    }
  }

  queue(index: number): void {
    if (!this.msix.enabled) this.#isr |= VIRTIO_PCI_ISR_QUEUE;
    const vector = this.#common.vectorOf(index);
    if (vector !== VIRTIO_MSI_NO_VECTOR) this.msix.trigger(vector);
  }

  config(): void {
    // Section 4.1.4.5.1: this bit is set with MSI-X too, unlike that of the queues.
    this.#isr |= VIRTIO_PCI_ISR_CONFIG;
    const vector = this.#common.configVector;
    if (vector !== VIRTIO_MSI_NO_VECTOR) this.msix.trigger(vector);
  }

  /** A device that is no bus master must not touch memory any more: a kernel relies on it when it hands over to the next (kexec). */
  #loseMemory(): void {
    this.core.reset();
    this.#common.forgetVectors();
  }

  /** Section 4.1.4.5: reading it clears it. */
  #takeIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    return isr;
  }

  /** What piece of the BAR an access to configuration space stands for (section 4.1.4.9), if any. */
  #windowAt(offset: number): number | undefined {
    if (offset !== this.#window + VIRTIO_PCI_NOTIFY_CAP_MULT) return undefined;
    const { view } = this.#function.config;
    const size = view.getUint32(this.#window + VIRTIO_PCI_CAP_LENGTH, true);
    const start = view.getUint32(this.#window + VIRTIO_PCI_CAP_OFFSET, true);
    const bar = view.getUint8(this.#window + VIRTIO_PCI_CAP_BAR);
    const valid = bar === 0 && (size === 1 || size === 2 || size === 4) && start % size === 0;
    return valid && start + size <= VIRTIO_PCI_BAR_SIZE ? start : undefined;
  }

  get #windowSize(): AccessSize {
    return this.#function.config.view.getUint32(this.#window + VIRTIO_PCI_CAP_LENGTH, true) as AccessSize;
  }

  /** Adds a `struct virtio_pci_cap`, with a further u32 where one is given. @returns its offset */
  #addCapability(type: number, page: number, length: number, more?: number): number {
    const size = VIRTIO_PCI_NOTIFY_CAP_MULT + (more === undefined ? 0 : 4);
    const capability = new DataView(new ArrayBuffer(size));
    capability.setUint8(VIRTIO_PCI_CAP_LEN, size);
    capability.setUint8(VIRTIO_PCI_CAP_CFG_TYPE, type);
    capability.setUint32(VIRTIO_PCI_CAP_OFFSET, page * PAGE_SIZE, true);
    capability.setUint32(VIRTIO_PCI_CAP_LENGTH, length, true);
    if (more !== undefined) capability.setUint32(VIRTIO_PCI_NOTIFY_CAP_MULT, more, true);
    return this.#function.config.addCapability(PCI_CAP_ID_VNDR, new Uint8Array(capability.buffer, VIRTIO_PCI_CAP_LEN));
  }
}

/** How many interrupt vectors a device's PCI function has. */
export function vectorCountOf(core: VirtioCore): number {
  return core.queues.length + 1;
}
