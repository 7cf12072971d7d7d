import type { BusDevice } from './bus.ts';
import { type BusRange, type BusWidth, RangedBus } from './bus-ranges.ts';

/**
 * Guest-physical addresses that are not RAM.
 *
 * A guest mostly stays with one device for several accesses, so the last one found is tried first; then the ranges, which
 * are sorted, are halved.
 */
export class MmioBus extends RangedBus {
  readonly #ranges: BusRange[] = [];
  #last: BusRange | undefined;

  /**
   * Puts `device` behind `length` bytes from guest-physical address `start` on.
   * @param width the widest access that it takes at once
   * @throws RangeError where the range is empty or overlaps another
   */
  add(start: number, length: number, device: BusDevice, width: BusWidth = 4): void {
    const end = start + length;
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || length < 1) {
      throw new RangeError(`no such addresses: ${length} bytes from 0x${start.toString(16)} on`);
    }
    const at = this.#countBelow(end);
    if (!this.isFree(start, length)) {
      throw new RangeError(`addresses 0x${start.toString(16)} to 0x${(end - 1).toString(16)} are taken`);
    }
    this.#ranges.splice(at, 0, { start, end, width, device });
  }

  /** Whether no device has any of `length` addresses from `start` on. */
  isFree(start: number, length: number): boolean {
    const before = this.#ranges[this.#countBelow(start + length) - 1];
    return before === undefined || before.end <= start;
  }

  /** Takes the device away whose range begins at `start`, as when a guest moves a BAR. @returns whether there was one */
  remove(start: number): boolean {
    const at = this.#ranges.findIndex((range) => range.start === start);
    if (at < 0) return false;
    this.#ranges.splice(at, 1);
    this.#last = undefined;
    return true;
  }

  protected find(address: number): BusRange | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address < last.end) return last;
    const range = this.#ranges[this.#countBelow(address + 1) - 1];
    if (range === undefined || address >= range.end) return undefined;
    this.#last = range;
    return range;
  }

  /** How many ranges begin below `address`. */
  #countBelow(address: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ranges[middle]!.start < address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
