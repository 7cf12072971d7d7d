import type { AccessSize } from '../bus.ts';
import type { PciConfigSpace } from './config-space.ts';
import {
  PCI_CAP_ID_MSIX,
  PCI_MSIX_ENTRY_CTRL_MASKBIT,
  PCI_MSIX_ENTRY_DATA,
  PCI_MSIX_ENTRY_LOWER_ADDR,
  PCI_MSIX_ENTRY_SIZE,
  PCI_MSIX_ENTRY_UPPER_ADDR,
  PCI_MSIX_ENTRY_VECTOR_CTRL,
  PCI_MSIX_FLAGS,
  PCI_MSIX_FLAGS_ENABLE,
  PCI_MSIX_FLAGS_MASKALL,
} from './constants.ts';

/** Carries message-signalled interrupts to the guest's CPUs. */
export interface MsiSink {
  /** The guest says what message a vector sends: called before the first `trigger`, and when it changes. */
  route(vector: number, addressLow: number, addressHigh: number, data: number): void;
  /** Sends a vector's message. */
  trigger(vector: number): void;
}

/** MSI-X of one function (PCI Local Bus 3.0 section 6.8): its capability, table, and pending bits. */
export class Msix {
  readonly count: number;
  readonly #config: PciConfigSpace;
  readonly #sink: MsiSink;
  readonly #table: DataView;
  readonly #pending: Uint8Array;
  /** Vectors whose message the sink knows as it is in the table. */
  readonly #routed: Uint8Array;
  readonly #control: number;

  /**
   * Adds the capability.
   * @param count vectors, at most 2048
   * @param tableOffset,pendingOffset where table and pending bits lie in BAR 0, multiples of 8
   */
  constructor(config: PciConfigSpace, count: number, tableOffset: number, pendingOffset: number, sink: MsiSink) {
    this.count = count;
    this.#config = config;
    this.#sink = sink;
    this.#table = new DataView(new ArrayBuffer(count * PCI_MSIX_ENTRY_SIZE));
    this.#pending = new Uint8Array(count);
    this.#routed = new Uint8Array(count);
    // Message control, then offsets whose low three bits name the BAR.
    const body = new DataView(new ArrayBuffer(10));
    body.setUint16(0, count - 1, true);
    body.setUint32(2, tableOffset, true);
    body.setUint32(6, pendingOffset, true);
    this.#control = config.addCapability(PCI_CAP_ID_MSIX, new Uint8Array(body.buffer)) + PCI_MSIX_FLAGS;
    config.allow(this.#control, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    for (let vector = 0; vector < count; vector++) this.#setMasked(vector);
  }

  get enabled(): boolean {
    return (this.#config.view.getUint16(this.#control, true) & PCI_MSIX_FLAGS_ENABLE) !== 0;
  }

  /** Sends a vector's message, or remembers it while the vector is masked. */
  trigger(vector: number): void {
    if (vector >= this.count || !this.enabled) return;
    if (this.#masked(vector)) {
      this.#pending[vector] = 1;
      return;
    }
    if (this.#routed[vector] === 0) this.#route(vector);
    this.#sink.trigger(vector);
  }

  /** The function's configuration space was written from `offset` up to `end`. */
  configWritten(offset: number, end: number): void {
    if (offset < this.#control + 2 && end > this.#control) this.#deliver();
  }

  readTable(offset: number, size: AccessSize): number {
    if (size !== 4 || offset + 4 > this.#table.byteLength) return 0;
    return this.#table.getUint32(offset, true);
  }

  /** Section 6.8.2: software writes 32 or 64 bits, aligned; the bus makes two of 64. */
  writeTable(offset: number, size: AccessSize, value: number): void {
    if (size !== 4 || offset % 4 !== 0 || offset + 4 > this.#table.byteLength) return;
    if (this.#table.getUint32(offset, true) === value) return;
    this.#table.setUint32(offset, value, true);
    const vector = Math.floor(offset / PCI_MSIX_ENTRY_SIZE);
    if (offset % PCI_MSIX_ENTRY_SIZE !== PCI_MSIX_ENTRY_VECTOR_CTRL) this.#routed[vector] = 0;
    else if (this.enabled) this.#deliverOne(vector);
  }

  readPending(offset: number, size: AccessSize): number {
    let bits = 0;
    for (let i = 0; i < 8 * size; i++) bits |= (this.#pending[8 * offset + i] ?? 0) << i;
    return bits >>> 0;
  }

  #deliver(): void {
    if (!this.enabled) return;
    for (let vector = 0; vector < this.count; vector++) this.#deliverOne(vector);
  }

  /** Sends what was remembered while the vector was masked. */
  #deliverOne(vector: number): void {
    if (this.#pending[vector] === 0 || this.#masked(vector)) return;
    this.#pending[vector] = 0;
    this.trigger(vector);
  }

  #route(vector: number): void {
    const at = vector * PCI_MSIX_ENTRY_SIZE;
    this.#routed[vector] = 1;
    this.#sink.route(
      vector,
      this.#table.getUint32(at + PCI_MSIX_ENTRY_LOWER_ADDR, true),
      this.#table.getUint32(at + PCI_MSIX_ENTRY_UPPER_ADDR, true),
      this.#table.getUint32(at + PCI_MSIX_ENTRY_DATA, true),
    );
  }

  #masked(vector: number): boolean {
    const control = this.#table.getUint32(vector * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL, true);
    const all = this.#config.view.getUint16(this.#control, true) & PCI_MSIX_FLAGS_MASKALL;
    return (control & PCI_MSIX_ENTRY_CTRL_MASKBIT) !== 0 || all !== 0;
  }

  #setMasked(vector: number): void {
    const at = vector * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL;
    this.#table.setUint32(at, PCI_MSIX_ENTRY_CTRL_MASKBIT, true);
  }
}
