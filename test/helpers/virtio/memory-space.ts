import type { AccessSize, BusDevice } from '../../../devices/bus.ts';
import type { PciMemorySpace } from '../../../devices/pci/function.ts';

interface Mapping {
  readonly address: number;
  readonly size: number;
  readonly device: BusDevice;
}

/** A memory bus for tests: finds the device and hands it the access whole. */
export class TestMemorySpace implements PciMemorySpace {
  readonly mappings: Mapping[] = [];

  map(address: number, size: number, device: BusDevice): boolean {
    if (this.mappings.some((other) => address < other.address + other.size && other.address < address + size))
      return false;
    this.mappings.push({ address, size, device });
    return true;
  }

  unmap(address: number): void {
    const index = this.mappings.findIndex((mapping) => mapping.address === address);
    if (index >= 0) this.mappings.splice(index, 1);
  }

  read(address: number, size: AccessSize): number {
    const mapping = this.#find(address);
    return mapping === undefined ? 2 ** (8 * size) - 1 : mapping.device.read(address - mapping.address, size);
  }

  write(address: number, size: AccessSize, value: number): void {
    const mapping = this.#find(address);
    mapping?.device.write(address - mapping.address, size, value);
  }

  #find(address: number): Mapping | undefined {
    return this.mappings.find((mapping) => address >= mapping.address && address < mapping.address + mapping.size);
  }
}
