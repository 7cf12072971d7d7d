import type { BusDevice } from './bus.ts';
import { Unclaimed, type UnclaimedListener } from './unclaimed.ts';

/** Bytes that one access on a bus carries. What is longer (8 bytes of `KVM_EXIT_MMIO`) comes as several. */
export type BusWidth = 1 | 2 | 4;

/** A device and the addresses behind which it sits. */
export interface BusRange {
  readonly start: number;
  /** The first address behind the range. */
  readonly end: number;
  /** The widest access that the device takes at once. */
  readonly width: BusWidth;
  readonly device: BusDevice;
}

/**
 * What the port bus and the memory bus have in common: handing an access to the device that claims its address.
 *
 * An access that spans two ranges, or is wider than its device takes, reaches the devices in parts, low address first, as a
 * chipset splits it for 8-bit devices. Where nobody claims any of its bytes it is dropped (write) or reads all ones.
 * Allocates nothing.
 */
export abstract class RangedBus {
  readonly unclaimed: Unclaimed;

  constructor(onUnclaimed?: UnclaimedListener) {
    this.unclaimed = new Unclaimed(onUnclaimed);
  }

  /** The range that claims `address`, which may lie beyond the bus's end. */
  protected abstract find(address: number): BusRange | undefined;

  /** What the guest reads at `address`: an unsigned number of `size` bytes. */
  read(address: number, size: BusWidth): number {
    const range = this.find(address);
    if (range !== undefined && size <= range.width && address + size <= range.end) {
      return range.device.read(address - range.start, size);
    }
    return this.#readParts(address, size);
  }

  /** The guest writes `value`, an unsigned number of `size` bytes, to `address`. */
  write(address: number, size: BusWidth, value: number): void {
    const range = this.find(address);
    if (range !== undefined && size <= range.width && address + size <= range.end) {
      range.device.write(address - range.start, size, value);
      return;
    }
    this.#writeParts(address, size, value);
  }

  #readParts(address: number, size: BusWidth): number {
    let value = 0;
    let claimed = false;
    for (let done = 0; done < size; ) {
      const at = address + done;
      const range = this.find(at);
      const part = range === undefined ? 1 : partSize(range, at, size - done);
      const bits = range === undefined ? 0xff : range.device.read(at - range.start, part);
      value |= (part === 1 ? bits & 0xff : bits & 0xffff) << (8 * done);
      claimed ||= range !== undefined;
      done += part;
    }
    if (!claimed) this.unclaimed.note(address, size, false);
    return value >>> 0;
  }

  #writeParts(address: number, size: BusWidth, value: number): void {
    let claimed = false;
    for (let done = 0; done < size; ) {
      const at = address + done;
      const range = this.find(at);
      const part = range === undefined ? 1 : partSize(range, at, size - done);
      if (range !== undefined) {
        const bits = value >>> (8 * done);
        range.device.write(at - range.start, part, part === 1 ? bits & 0xff : bits & 0xffff);
        claimed = true;
      }
      done += part;
    }
    if (!claimed) this.unclaimed.note(address, size, true);
  }
}

/** How much of what is left one access to `range` takes. Never 4: such an access is no part but the whole. */
function partSize(range: BusRange, address: number, left: number): 1 | 2 {
  return range.width >= 2 && left >= 2 && address + 2 <= range.end ? 2 : 1;
}
