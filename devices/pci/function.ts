import type { AccessSize, BusDevice } from '../bus.ts';
import { PciConfigSpace, type PciIdentity } from './config-space.ts';
import {
  PCI_BASE_ADDRESS_0,
  PCI_COMMAND,
  PCI_COMMAND_INTX_DISABLE,
  PCI_COMMAND_MASTER,
  PCI_COMMAND_MEMORY,
} from './constants.ts';

/** The memory bus as PCI functions see it: where their BARs appear and vanish. */
export interface PciMemorySpace {
  /** Puts `device` at a guest-physical address. @returns false where it cannot lie there (taken, or no such address) */
  map(address: number, size: number, device: BusDevice): boolean;
  unmap(address: number): void;
}

/** One function on the bus: all that the bus knows of it. */
export interface PciConfigurable {
  readConfig(offset: number, size: AccessSize): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
}

/** What stands behind a function's only BAR. */
export interface PciBar {
  /** Bytes, a power of two and at least 16. */
  readonly size: number;
  readonly device: BusDevice;
  /** Called when the guest moves it. `address` is undefined while it is nowhere. */
  moved?(address: number | undefined): void;
}

/**
 * A PCI function with one 32-bit memory BAR, BAR 0 (PCI Local Bus 3.0 section 6.2.5.1).
 *
 * The BAR is decoded while `PCI_COMMAND_MEMORY` is set. It comes with an address, as from a BIOS, but not enabled.
 */
export class PciFunction implements PciConfigurable {
  readonly config: PciConfigSpace;
  readonly #space: PciMemorySpace;
  #bar: PciBar | undefined;
  /** Where the BAR is decoded now. */
  #mapped: number | undefined;

  constructor(identity: PciIdentity, space: PciMemorySpace) {
    this.config = new PciConfigSpace(identity);
    this.config.allow(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    this.#space = space;
  }

  /** Gives the function its BAR. @param address guest-physical, a multiple of the size */
  setBar(bar: PciBar, address: number): void {
    this.#bar = bar;
    this.config.view.setUint32(PCI_BASE_ADDRESS_0, address, true);
    // Only the bits above the size can be written, which is how software finds the size.
    this.config.allow(PCI_BASE_ADDRESS_0, 4, -bar.size >>> 0);
  }

  /** Where BAR 0 is decoded, if it is. */
  get barAddress(): number | undefined {
    return this.#mapped;
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

  /** Maps and unmaps the BAR as its registers say. */
  #place(): void {
    const bar = this.#bar;
    if (bar === undefined) return;
    const { view } = this.config;
    const enabled = (view.getUint16(PCI_COMMAND, true) & PCI_COMMAND_MEMORY) !== 0;
    const wanted = enabled ? view.getUint32(PCI_BASE_ADDRESS_0, true) : undefined;
    if (wanted === this.#mapped) return;
    if (this.#mapped !== undefined) this.#space.unmap(this.#mapped);
    this.#mapped = wanted !== undefined && this.#space.map(wanted, bar.size, bar.device) ? wanted : undefined;
    bar.moved?.(this.#mapped);
  }
}
