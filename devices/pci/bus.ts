import type { AccessSize, BusDevice } from '../bus.ts';
import { PciConfigSpace } from './config-space.ts';
import { PCI_CLASS_BRIDGE_HOST } from './constants.ts';
import type { PciConfigurable } from './function.ts';

/** Devices on one bus; each has function 0 only. */
export const PCI_DEVICES_PER_BUS = 32;
/** ECAM: bytes of configuration space a function, and functions a device (PCI Express base specification, section 7.2.2). */
const ECAM_FUNCTION_SHIFT = 12;
const FUNCTIONS_PER_DEVICE = 8;
const FUNCTIONS_PER_BUS = PCI_DEVICES_PER_BUS * FUNCTIONS_PER_DEVICE;

/** Red Hat's host bridge of QEMU's generic PCI Express machine: no driver binds to it, all know it. */
const HOST_BRIDGE = {
  vendor: 0x1b36,
  device: 0x0008,
  revision: 0,
  classCode: PCI_CLASS_BRIDGE_HOST,
  subsystemVendor: 0x1af4,
  subsystem: 0x1100,
};

function allOnes(size: AccessSize): number {
  return size === 1 ? 0xff : size === 2 ? 0xffff : 0xffff_ffff;
}

/** PCI bus 0: a host bridge at device 0, and whatever is added. */
export class PciBus {
  /** By device number. */
  readonly #devices: (PciConfigurable | undefined)[] = [];
  /** Configuration space as memory, one bus of 1 MiB. */
  readonly ecam: BusDevice;
  /** Configuration space behind 8 I/O ports from 0xcf8 on. */
  readonly ports: BusDevice;

  constructor() {
    const bridge = new PciConfigSpace(HOST_BRIDGE);
    this.#devices.push({
      readConfig: (offset, size) => bridge.read(offset, size),
      writeConfig: (offset, size, value) => bridge.write(offset, size, value),
    });
    this.ecam = new Ecam(this);
    this.ports = new ConfigPorts(this);
  }

  /** Adds a device. @returns its device number @throws RangeError where the bus is full */
  add(device: PciConfigurable): number {
    if (this.#devices.length === PCI_DEVICES_PER_BUS) throw new RangeError('more than 31 devices on the PCI bus');
    return this.#devices.push(device) - 1;
  }

  /** @param routing bus, device and function as in bits 23:8 of a PCI address */
  read(routing: number, offset: number, size: AccessSize): number {
    const device = this.#find(routing);
    return device === undefined ? allOnes(size) : device.readConfig(offset, size);
  }

  write(routing: number, offset: number, size: AccessSize, value: number): void {
    this.#find(routing)?.writeConfig(offset, size, value);
  }

  #find(routing: number): PciConfigurable | undefined {
    if (routing >= FUNCTIONS_PER_BUS || routing % FUNCTIONS_PER_DEVICE !== 0) return undefined;
    return this.#devices[routing / FUNCTIONS_PER_DEVICE];
  }
}

/** PCI Express enhanced configuration access: bits 27:12 of the offset are bus, device and function. */
class Ecam implements BusDevice {
  readonly #bus: PciBus;

  constructor(bus: PciBus) {
    this.#bus = bus;
  }

  read(offset: number, size: AccessSize): number {
    return this.#bus.read(offset >>> ECAM_FUNCTION_SHIFT, offset & 0xfff, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.#bus.write(offset >>> ECAM_FUNCTION_SHIFT, offset & 0xfff, size, value);
  }
}

/** Configuration mechanism 1 (PCI Local Bus 3.0 section 3.2.2.3.2): an address port of 32 bits, then 4 ports of data. */
class ConfigPorts implements BusDevice {
  readonly #bus: PciBus;
  /** CONFIG_ADDRESS: bit 31 enables, 23:8 bus, device and function, 7:2 register. */
  #address = 0;

  constructor(bus: PciBus) {
    this.#bus = bus;
  }

  read(offset: number, size: AccessSize): number {
    // Only accesses of 32 bits are to CONFIG_ADDRESS; others pass by it.
    if (offset < 4) return offset === 0 && size === 4 ? this.#address : allOnes(size);
    if (!this.#enabled) return allOnes(size);
    return this.#bus.read((this.#address >>> 8) & 0xffff, (this.#address & 0xfc) + offset - 4, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset < 4) {
      if (offset === 0 && size === 4) this.#address = (value & 0x80ff_fffc) >>> 0;
    } else if (this.#enabled) {
      this.#bus.write((this.#address >>> 8) & 0xffff, (this.#address & 0xfc) + offset - 4, size, value);
    }
  }

  get #enabled(): boolean {
    return this.#address >= 0x8000_0000;
  }
}
