import type { AccessSize } from '../bus.ts';
import {
  PCI_CAPABILITY_LIST,
  PCI_CLASS_DEVICE,
  PCI_DEVICE_ID,
  PCI_INTERRUPT_LINE,
  PCI_REVISION_ID,
  PCI_STATUS,
  PCI_STATUS_CAP_LIST,
  PCI_SUBSYSTEM_ID,
  PCI_SUBSYSTEM_VENDOR_ID,
  PCI_VENDOR_ID,
} from './constants.ts';

/** Bytes of conventional configuration space; the rest of ECAM's 4 KiB a function reads 0. */
export const PCI_CONFIG_SPACE_SIZE = 256;
const FIRST_CAPABILITY = 0x40;

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  /** Base class and subclass, `PCI_CLASS_*`. */
  readonly classCode: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
}

/** The configuration space of a function: bytes, and which of their bits software may change. */
export class PciConfigSpace {
  readonly view = new DataView(new ArrayBuffer(PCI_CONFIG_SPACE_SIZE));
  readonly #writable = new DataView(new ArrayBuffer(PCI_CONFIG_SPACE_SIZE));
  #lastCapability = 0;
  #free = FIRST_CAPABILITY;

  constructor(identity: PciIdentity) {
    const { view } = this;
    view.setUint16(PCI_VENDOR_ID, identity.vendor, true);
    view.setUint16(PCI_DEVICE_ID, identity.device, true);
    view.setUint8(PCI_REVISION_ID, identity.revision);
    view.setUint16(PCI_CLASS_DEVICE, identity.classCode, true);
    view.setUint16(PCI_SUBSYSTEM_VENDOR_ID, identity.subsystemVendor, true);
    view.setUint16(PCI_SUBSYSTEM_ID, identity.subsystem, true);
    // A scratch register for software, although no interrupt pin leads anywhere.
    this.allow(PCI_INTERRUPT_LINE, 1, 0xff);
  }

  /** Lets software change the bits of `mask`. */
  allow(offset: number, size: 1 | 2 | 4, mask: number): void {
    if (size === 1) this.#writable.setUint8(offset, mask);
    else if (size === 2) this.#writable.setUint16(offset, mask, true);
    else this.#writable.setUint32(offset, mask, true);
  }

  /**
   * Appends a capability.
   * @param body what follows its id and the link to the next
   * @returns its offset
   */
  addCapability(id: number, body: Uint8Array): number {
    const { view } = this;
    const at = this.#free;
    const end = at + 2 + body.length;
    if (end > PCI_CONFIG_SPACE_SIZE) throw new RangeError('capabilities do not fit in the configuration space');
    view.setUint8(at, id);
    for (const [i, byte] of body.entries()) view.setUint8(at + 2 + i, byte);
    if (this.#lastCapability === 0) {
      view.setUint8(PCI_CAPABILITY_LIST, at);
      view.setUint16(PCI_STATUS, PCI_STATUS_CAP_LIST, true);
    } else {
      view.setUint8(this.#lastCapability + 1, at);
    }
    this.#lastCapability = at;
    // Capabilities lie on multiples of 4.
    this.#free = (end + 3) & ~3;
    return at;
  }

  read(offset: number, size: AccessSize): number {
    if (offset + size > PCI_CONFIG_SPACE_SIZE) return 0;
    if (size === 1) return this.view.getUint8(offset);
    return size === 2 ? this.view.getUint16(offset, true) : this.view.getUint32(offset, true);
  }

  /** Software's write: only what `allow` permits changes. */
  write(offset: number, size: AccessSize, value: number): void {
    if (offset + size > PCI_CONFIG_SPACE_SIZE) return;
    for (let i = 0; i < size; i++) {
      const mask = this.#writable.getUint8(offset + i);
      const old = this.view.getUint8(offset + i);
      this.view.setUint8(offset + i, (old & ~mask) | ((value >>> (8 * i)) & mask));
    }
  }
}
