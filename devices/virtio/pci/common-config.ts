import type { AccessSize } from '../../bus.ts';
import type { VirtioCore } from '../core.ts';
import {
  VIRTIO_MSI_NO_VECTOR,
  VIRTIO_PCI_COMMON_CFGGENERATION,
  VIRTIO_PCI_COMMON_DF,
  VIRTIO_PCI_COMMON_DFSELECT,
  VIRTIO_PCI_COMMON_GF,
  VIRTIO_PCI_COMMON_GFSELECT,
  VIRTIO_PCI_COMMON_MSIX,
  VIRTIO_PCI_COMMON_NUMQ,
  VIRTIO_PCI_COMMON_Q_AVAILHI,
  VIRTIO_PCI_COMMON_Q_AVAILLO,
  VIRTIO_PCI_COMMON_Q_DESCHI,
  VIRTIO_PCI_COMMON_Q_DESCLO,
  VIRTIO_PCI_COMMON_Q_ENABLE,
  VIRTIO_PCI_COMMON_Q_MSIX,
  VIRTIO_PCI_COMMON_Q_NDATA,
  VIRTIO_PCI_COMMON_Q_NOFF,
  VIRTIO_PCI_COMMON_Q_RESET,
  VIRTIO_PCI_COMMON_Q_SELECT,
  VIRTIO_PCI_COMMON_Q_SIZE,
  VIRTIO_PCI_COMMON_Q_USEDHI,
  VIRTIO_PCI_COMMON_Q_USEDLO,
  VIRTIO_PCI_COMMON_STATUS,
} from './layout.ts';

/** Bytes of each field; section 4.1.3.1 makes drivers access fields whole, those of 64 bits as two of 32. */
function widthOf(offset: number): AccessSize {
  if (offset < VIRTIO_PCI_COMMON_MSIX) return 4;
  if (offset === VIRTIO_PCI_COMMON_STATUS || offset === VIRTIO_PCI_COMMON_CFGGENERATION) return 1;
  return offset >= VIRTIO_PCI_COMMON_Q_DESCLO && offset < VIRTIO_PCI_COMMON_Q_NDATA ? 4 : 2;
}

/** The common configuration structure (section 4.1.4.3). */
export class CommonConfig {
  readonly #core: VirtioCore;
  readonly #vectorCount: number;
  readonly #queueVectors: Uint16Array;
  #configVector = VIRTIO_MSI_NO_VECTOR;
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #queueSelect = 0;

  constructor(core: VirtioCore, vectorCount: number) {
    this.#core = core;
    this.#vectorCount = vectorCount;
    this.#queueVectors = new Uint16Array(core.queues.length).fill(VIRTIO_MSI_NO_VECTOR);
  }

  /** The vector for changes of configuration, or `VIRTIO_MSI_NO_VECTOR`. */
  get configVector(): number {
    return this.#configVector;
  }

  /** The vector for used buffers of a queue, or `VIRTIO_MSI_NO_VECTOR`. */
  vectorOf(queue: number): number {
    return this.#queueVectors[queue]!;
  }

  read(offset: number, size: AccessSize): number {
    if (size !== widthOf(offset)) return 0;
    const core = this.#core;
    switch (offset) {
      case VIRTIO_PCI_COMMON_DFSELECT:
        return this.#deviceFeatureSelect;
      case VIRTIO_PCI_COMMON_DF:
        return core.offeredWord(this.#deviceFeatureSelect);
      case VIRTIO_PCI_COMMON_GFSELECT:
        return this.#driverFeatureSelect;
      case VIRTIO_PCI_COMMON_GF:
        return core.acceptedWord(this.#driverFeatureSelect);
      case VIRTIO_PCI_COMMON_MSIX:
        return this.#configVector;
      case VIRTIO_PCI_COMMON_NUMQ:
        return core.queues.length;
      case VIRTIO_PCI_COMMON_STATUS:
        return core.status;
      case VIRTIO_PCI_COMMON_CFGGENERATION:
        return core.configGeneration;
      case VIRTIO_PCI_COMMON_Q_SELECT:
        return this.#queueSelect;
      default:
        return this.#readQueue(offset);
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== widthOf(offset)) return;
    const core = this.#core;
    switch (offset) {
      case VIRTIO_PCI_COMMON_DFSELECT:
        this.#deviceFeatureSelect = value;
        break;
      case VIRTIO_PCI_COMMON_GFSELECT:
        this.#driverFeatureSelect = value;
        break;
      case VIRTIO_PCI_COMMON_GF:
        core.acceptWord(this.#driverFeatureSelect, value);
        break;
      case VIRTIO_PCI_COMMON_MSIX:
        this.#configVector = this.#allowed(value);
        break;
      case VIRTIO_PCI_COMMON_STATUS:
        core.writeStatus(value);
        if (core.status === 0) this.forgetVectors();
        break;
      case VIRTIO_PCI_COMMON_Q_SELECT:
        this.#queueSelect = value;
        break;
      case VIRTIO_PCI_COMMON_Q_MSIX:
        if (this.#queueSelect < this.#queueVectors.length) this.#queueVectors[this.#queueSelect] = this.#allowed(value);
        break;
      case VIRTIO_PCI_COMMON_Q_ENABLE:
        // Section 4.1.4.3.2: a driver must not write 0.
        if (value === 1) core.enableQueue(this.#queueSelect);
        break;
      case VIRTIO_PCI_COMMON_Q_RESET:
        if (value === 1) core.resetQueue(this.#queueSelect);
        break;
      default:
        this.#writePlace(offset, value);
    }
  }

  #readQueue(offset: number): number {
    const registers = this.#core.registers[this.#queueSelect];
    // Section 4.1.4.3.1: a queue that is not there has size 0.
    if (registers === undefined) return 0;
    switch (offset) {
      case VIRTIO_PCI_COMMON_Q_SIZE:
        return registers.size;
      case VIRTIO_PCI_COMMON_Q_MSIX:
        return this.#queueVectors[this.#queueSelect]!;
      case VIRTIO_PCI_COMMON_Q_ENABLE:
        return Number(registers.enabled);
      case VIRTIO_PCI_COMMON_Q_NOFF:
        return this.#queueSelect;
      case VIRTIO_PCI_COMMON_Q_DESCLO:
        return registers.descriptorsLow;
      case VIRTIO_PCI_COMMON_Q_DESCHI:
        return registers.descriptorsHigh;
      case VIRTIO_PCI_COMMON_Q_AVAILLO:
        return registers.availableLow;
      case VIRTIO_PCI_COMMON_Q_AVAILHI:
        return registers.availableHigh;
      case VIRTIO_PCI_COMMON_Q_USEDLO:
        return registers.usedLow;
      case VIRTIO_PCI_COMMON_Q_USEDHI:
        return registers.usedHigh;
      // `queue_reset` reads 0, for a queue is reset at once; `queue_notify_data` is of use with a feature that is not offered.
      default:
        return 0;
    }
  }

  #writePlace(offset: number, value: number): void {
    const registers = this.#core.configurable(this.#queueSelect);
    if (registers === undefined) return;
    switch (offset) {
      case VIRTIO_PCI_COMMON_Q_SIZE:
        registers.size = value;
        break;
      case VIRTIO_PCI_COMMON_Q_DESCLO:
        registers.descriptorsLow = value;
        break;
      case VIRTIO_PCI_COMMON_Q_DESCHI:
        registers.descriptorsHigh = value;
        break;
      case VIRTIO_PCI_COMMON_Q_AVAILLO:
        registers.availableLow = value;
        break;
      case VIRTIO_PCI_COMMON_Q_AVAILHI:
        registers.availableHigh = value;
        break;
      case VIRTIO_PCI_COMMON_Q_USEDLO:
        registers.usedLow = value;
        break;
      case VIRTIO_PCI_COMMON_Q_USEDHI:
        registers.usedHigh = value;
        break;
      default:
        break;
    }
  }

  /** Section 4.1.5.1.2.1: a vector that cannot be had reads back as none. */
  #allowed(vector: number): number {
    return vector < this.#vectorCount ? vector : VIRTIO_MSI_NO_VECTOR;
  }

  /** As after a device reset. */
  forgetVectors(): void {
    this.#configVector = VIRTIO_MSI_NO_VECTOR;
    this.#queueVectors.fill(VIRTIO_MSI_NO_VECTOR);
  }
}
