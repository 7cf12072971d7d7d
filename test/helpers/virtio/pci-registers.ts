import type { BusDevice } from '../../../devices/bus.ts';
import { MmioBus } from '../../../devices/mmio-bus.ts';
import { BarSpace } from '../../../devices/pci/bar-space.ts';
import { PciBus } from '../../../devices/pci/bus.ts';
import * as pci from '../../../devices/pci/constants.ts';
import type { MsiSink } from '../../../devices/pci/msix.ts';
import type { VirtioCore } from '../../../devices/virtio/core.ts';
import * as reg from '../../../devices/virtio/pci/layout.ts';
import { VirtioPci } from '../../../devices/virtio/pci/transport.ts';
import type { QueuePlace } from '../../../devices/virtio/queue.ts';
import { MMIO_HOLE_END, MMIO_HOLE_START } from '../../../lib/memory/layout.ts';
import type { DriverRegisters } from './driver.ts';

const BAR = 0xc000_0000;
const MESSAGE_ADDRESS = 0xfee0_0000;

/** Messages that arrive, as a local APIC would see them. */
class TestMessages implements MsiSink {
  readonly #data = new Map<number, number | undefined>();
  readonly arrived: number[] = [];

  route(vector: number, addressLow: number, addressHigh: number, data: number): void {
    // Messages to anywhere else are lost, as on the bus.
    const arrives = addressLow === MESSAGE_ADDRESS && addressHigh === 0;
    this.#data.set(vector, arrives ? data : undefined);
  }

  trigger(vector: number): void {
    if (!this.#data.has(vector)) throw new Error('a message that was not routed');
    const data = this.#data.get(vector);
    if (data !== undefined) this.arrived.push(data);
  }
}

/** virtio-pci as a driver knows it: finds the function, sizes its BAR, and walks its capabilities (virtio 1.2 section 4.1). */
export class PciRegisters implements DriverRegisters {
  readonly space: Pick<BusDevice, 'read' | 'write'>;
  readonly ecam: BusDevice;
  readonly device: number;
  readonly barSize: number;
  readonly #structures = new Map<number, { capability: number; offset: number; length: number }>();
  readonly #msix: number;

  /** A bus of its own for a device. */
  static over(core: VirtioCore): OwnPciRegisters {
    const space = new MmioBus();
    const bus = new PciBus();
    const messages = new TestMessages();
    const pci = new VirtioPci(core, new BarSpace(space, MMIO_HOLE_START, MMIO_HOLE_END), BAR, messages);
    return new OwnPciRegisters(space, bus, pci, messages, bus.add(pci));
  }

  /** @param device its number on the bus */
  constructor(space: Pick<BusDevice, 'read' | 'write'>, ecam: BusDevice, device: number) {
    this.space = space;
    this.ecam = ecam;
    this.device = device;
    if (this.config(pci.PCI_VENDOR_ID, 2) !== 0x1af4) throw new Error('no virtio device');
    this.barSize = this.#sizeBar();
    this.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
    let msix = 0;
    for (let at = this.config(pci.PCI_CAPABILITY_LIST, 1); at !== 0; at = this.config(at + 1, 1)) {
      const id = this.config(at, 1);
      if (id === pci.PCI_CAP_ID_MSIX) msix = at;
      if (id !== pci.PCI_CAP_ID_VNDR) continue;
      this.#structures.set(this.config(at + reg.VIRTIO_PCI_CAP_CFG_TYPE, 1), {
        capability: at,
        offset: this.config(at + reg.VIRTIO_PCI_CAP_OFFSET, 4),
        length: this.config(at + reg.VIRTIO_PCI_CAP_LENGTH, 4),
      });
    }
    this.#msix = msix;
  }

  config(offset: number, size: 1 | 2 | 4): number {
    return this.ecam.read((this.device << 15) | offset, size);
  }

  setConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    this.ecam.write((this.device << 15) | offset, size, value);
  }

  /** Where a structure's capability lies in configuration space. */
  capability(type: number): number {
    return this.#structure(type).capability;
  }

  /** Where MSI-X lies in configuration space. */
  get msix(): number {
    return this.#msix;
  }

  get bar(): number {
    return this.config(pci.PCI_BASE_ADDRESS_0, 4);
  }

  common(offset: number, size: 1 | 2 | 4): number {
    return this.space.read(this.bar + this.#structure(reg.VIRTIO_PCI_CAP_COMMON_CFG).offset + offset, size);
  }

  setCommon(offset: number, size: 1 | 2 | 4, value: number): void {
    this.space.write(this.bar + this.#structure(reg.VIRTIO_PCI_CAP_COMMON_CFG).offset + offset, size, value >>> 0);
  }

  get deviceType(): number {
    return this.config(pci.PCI_DEVICE_ID, 2) - 0x1040;
  }

  get status(): number {
    return this.common(reg.VIRTIO_PCI_COMMON_STATUS, 1);
  }

  set status(value: number) {
    this.setCommon(reg.VIRTIO_PCI_COMMON_STATUS, 1, value);
  }

  readFeatures(select: number): number {
    this.setCommon(reg.VIRTIO_PCI_COMMON_DFSELECT, 4, select);
    return this.common(reg.VIRTIO_PCI_COMMON_DF, 4);
  }

  writeFeatures(select: number, value: number): void {
    this.setCommon(reg.VIRTIO_PCI_COMMON_GFSELECT, 4, select);
    this.setCommon(reg.VIRTIO_PCI_COMMON_GF, 4, value);
  }

  get queueCount(): number {
    return this.common(reg.VIRTIO_PCI_COMMON_NUMQ, 2);
  }

  maxSize(queue: number): number {
    this.#select(queue);
    return this.common(reg.VIRTIO_PCI_COMMON_Q_SIZE, 2);
  }

  placeQueue(queue: number, place: QueuePlace): void {
    this.#select(queue);
    this.setCommon(reg.VIRTIO_PCI_COMMON_Q_SIZE, 2, place.size);
    this.#write64(reg.VIRTIO_PCI_COMMON_Q_DESCLO, place.descriptors);
    this.#write64(reg.VIRTIO_PCI_COMMON_Q_AVAILLO, place.available);
    this.#write64(reg.VIRTIO_PCI_COMMON_Q_USEDLO, place.used);
  }

  enableQueue(queue: number): void {
    this.#select(queue);
    this.setCommon(reg.VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
  }

  isEnabled(queue: number): boolean {
    this.#select(queue);
    return this.common(reg.VIRTIO_PCI_COMMON_Q_ENABLE, 2) === 1;
  }

  resetQueue(queue: number): void {
    this.#select(queue);
    this.setCommon(reg.VIRTIO_PCI_COMMON_Q_RESET, 2, 1);
  }

  notify(queue: number): void {
    this.#select(queue);
    const { capability, offset } = this.#structure(reg.VIRTIO_PCI_CAP_NOTIFY_CFG);
    const multiplier = this.config(capability + reg.VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
    // A queue that is not there has no place of its own: tests try what comes behind the last.
    const place = queue < this.queueCount ? this.common(reg.VIRTIO_PCI_COMMON_Q_NOFF, 2) : queue;
    this.space.write(this.bar + offset + ((multiplier * place) & 0xfff), 2, queue);
  }

  get generation(): number {
    return this.common(reg.VIRTIO_PCI_COMMON_CFGGENERATION, 1);
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    return this.space.read(this.bar + this.#structure(reg.VIRTIO_PCI_CAP_DEVICE_CFG).offset + offset, size);
  }

  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    this.space.write(this.bar + this.#structure(reg.VIRTIO_PCI_CAP_DEVICE_CFG).offset + offset, size, value);
  }

  readIsr(): number {
    return this.space.read(this.bar + this.#structure(reg.VIRTIO_PCI_CAP_ISR_CFG).offset, 1);
  }

  /** Vector 0 for changes of configuration, 1 for all queues, as a driver with few vectors does. */
  prepareInterrupts(): void {
    this.setMessage(0, 0x40);
    this.setMessage(1, 0x41);
    this.maskVector(0, false);
    this.maskVector(1, false);
    this.setConfig(this.#msix + pci.PCI_MSIX_FLAGS, 2, pci.PCI_MSIX_FLAGS_ENABLE);
    this.setCommon(reg.VIRTIO_PCI_COMMON_MSIX, 2, 0);
    for (let i = 0; i < this.queueCount; i++) {
      this.#select(i);
      this.setCommon(reg.VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
    }
  }

  takeInterrupts(): { queue: boolean; config: boolean } {
    throw new Error('messages go where nobody looks');
  }

  setMessage(vector: number, data: number): void {
    const entry = this.#entry(vector);
    this.space.write(entry + pci.PCI_MSIX_ENTRY_LOWER_ADDR, 4, MESSAGE_ADDRESS);
    this.space.write(entry + pci.PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0);
    this.space.write(entry + pci.PCI_MSIX_ENTRY_DATA, 4, data);
  }

  maskVector(vector: number, masked: boolean): void {
    this.space.write(this.#entry(vector) + pci.PCI_MSIX_ENTRY_VECTOR_CTRL, 4, Number(masked));
  }

  pendingBits(): number {
    return this.space.read(this.bar + this.config(this.#msix + 8, 4), 4);
  }

  #entry(vector: number): number {
    return this.bar + this.config(this.#msix + 4, 4) + pci.PCI_MSIX_ENTRY_SIZE * vector;
  }

  #structure(type: number): { capability: number; offset: number; length: number } {
    const structure = this.#structures.get(type);
    if (structure === undefined) throw new Error(`no capability of type ${type}`);
    return structure;
  }

  #select(queue: number): void {
    this.setCommon(reg.VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
  }

  #sizeBar(): number {
    const old = this.config(pci.PCI_BASE_ADDRESS_0, 4);
    this.setConfig(pci.PCI_BASE_ADDRESS_0, 4, 0xffff_ffff);
    const size = -(this.config(pci.PCI_BASE_ADDRESS_0, 4) & ~0xf) >>> 0;
    this.setConfig(pci.PCI_BASE_ADDRESS_0, 4, old);
    return size;
  }

  #write64(offset: number, value: number): void {
    this.setCommon(offset, 4, value % 2 ** 32);
    this.setCommon(offset + 4, 4, Math.floor(value / 2 ** 32));
  }
}

/** With a bus of its own, whose messages can be seen. */
export class OwnPciRegisters extends PciRegisters {
  declare readonly space: MmioBus;
  readonly bus: PciBus;
  readonly function: VirtioPci;
  readonly messages: TestMessages;

  constructor(space: MmioBus, bus: PciBus, pci: VirtioPci, messages: TestMessages, device: number) {
    super(space, bus.ecam, device);
    this.bus = bus;
    this.function = pci;
    this.messages = messages;
  }

  override prepareInterrupts(): void {
    super.prepareInterrupts();
    this.messages.arrived.length = 0;
  }

  override takeInterrupts(): { queue: boolean; config: boolean } {
    const { arrived } = this.messages;
    const found = { queue: arrived.includes(0x41), config: arrived.includes(0x40) };
    arrived.length = 0;
    return found;
  }
}
