import type { BusDevice } from './bus.ts';
import { type BusRange, type BusWidth, RangedBus } from './bus-ranges.ts';

/** I/O ports of x86: 64 Ki (Intel SDM vol. 1, chapter 20). */
export const PORT_COUNT = 0x1_0000;

/** A range takes one byte value of the port table; 0 stands for unclaimed. */
const MAX_RANGES = 255;

/** The I/O ports. A port's device is found by one table look-up. */
export class PortBus extends RangedBus {
  readonly #slots = new Uint8Array(PORT_COUNT);
  readonly #ranges: (BusRange | undefined)[] = [undefined];

  /**
   * Puts `device` behind `length` ports from `start` on.
   * @param width the widest access that it takes at once
   * @throws RangeError where the ports do not exist or are taken
   */
  add(start: number, length: number, device: BusDevice, width: BusWidth = 4): void {
    const end = start + length;
    if (!Number.isInteger(start) || !Number.isInteger(length) || start < 0 || length < 1 || end > PORT_COUNT) {
      throw new RangeError(`no such ports: ${length} from 0x${start.toString(16)} on`);
    }
    if (this.#slots.subarray(start, end).some((slot) => slot !== 0)) {
      throw new RangeError(`ports 0x${start.toString(16)} to 0x${(end - 1).toString(16)} are taken`);
    }
    let slot = this.#ranges.indexOf(undefined, 1);
    if (slot < 0) slot = this.#ranges.length;
    if (slot > MAX_RANGES) throw new RangeError(`more than ${MAX_RANGES} devices on the port bus`);
    this.#ranges[slot] = { start, end, width, device };
    this.#slots.fill(slot, start, end);
  }

  /** Takes the device away whose range begins at `start`. @returns whether there was one */
  remove(start: number): boolean {
    const slot = this.#slots[start] ?? 0;
    const range = this.#ranges[slot];
    if (range === undefined || range.start !== start) return false;
    this.#ranges[slot] = undefined;
    this.#slots.fill(0, start, range.end);
    return true;
  }

  protected find(port: number): BusRange | undefined {
    return port < PORT_COUNT ? this.#ranges[this.#slots[port]!] : undefined;
  }
}
