import type { AccessSize } from '../bus.ts';
import type { BarPlace, BarSpace, PciBar } from './bar-space.ts';
import { PciConfigSpace, type PciIdentity } from './config-space.ts';
import {
  PCI_BASE_ADDRESS_0,
  PCI_COMMAND,
  PCI_COMMAND_INTX_DISABLE,
  PCI_COMMAND_MASTER,
  PCI_COMMAND_MEMORY,
} from './constants.ts';

/** One function on the bus: all that the bus knows of it. */
export interface PciConfigurable {
  readConfig(offset: number, size: AccessSize): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
}

/**
 * A PCI function with one 32-bit memory BAR, BAR 0 (PCI Local Bus 3.0 section 6.2.5.1).
 *
 * The BAR is decoded while `PCI_COMMAND_MEMORY` is set. It comes with an address, as from a BIOS, but not enabled.
 */
export class PciFunction implements PciConfigurable {
  readonly config: PciConfigSpace;
  readonly #space: BarSpace;
  #bar: BarPlace | undefined;

  constructor(identity: PciIdentity, space: BarSpace) {
    this.config = new PciConfigSpace(identity);
    this.config.allow(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    this.#space = space;
  }

  /** Gives the function its BAR. @param address guest-physical, a multiple of the size */
  setBar(bar: PciBar, address: number): void {
    this.#bar = this.#space.add(bar);
    this.config.view.setUint32(PCI_BASE_ADDRESS_0, address, true);
    // Only the bits above the size can be written, which is how software finds the size.
    this.config.allow(PCI_BASE_ADDRESS_0, 4, -bar.size >>> 0);
  }

  /** Where BAR 0 is decoded, if it is. */
  get barAddress(): number | undefined {
    return this.#bar?.address;
  }

  /** Whether software lets the function reach memory by itself (bus mastering). */
  get isMaster(): boolean {
    return (this.config.view.getUint16(PCI_COMMAND, true) & PCI_COMMAND_MASTER) !== 0;
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.config.read(offset, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    this.config.write(offset, size, value);
    const end = offset + size;
    if (offset < PCI_COMMAND + 2 && end > PCI_COMMAND) this.#place();
    else if (offset < PCI_BASE_ADDRESS_0 + 4 && end > PCI_BASE_ADDRESS_0) this.#place();
  }

  /** Puts the BAR where its registers say. */
  #place(): void {
    const { view } = this.config;
    const isEnabled = (view.getUint16(PCI_COMMAND, true) & PCI_COMMAND_MEMORY) !== 0;
    this.#bar?.move(isEnabled ? view.getUint32(PCI_BASE_ADDRESS_0, true) : undefined);
  }
}
