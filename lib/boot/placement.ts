import { ConfigError } from '../errors.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { EBDA_START, HIGH_RAM_START } from '../memory/layout.ts';
import { alignDown, alignUp, hex, sizeText } from './bytes.ts';

/** A range of guest-physical addresses that something occupies. Bytes; `end` is exclusive. */
export interface PlacedRange {
  readonly what: string;
  readonly start: number;
  readonly end: number;
}

/** Usable RAM as the guest's memory map shows it: `[start, end)`. */
export interface UsableRange {
  readonly start: number;
  readonly end: number;
}

/** RAM that is the guest's own: all but the BIOS data area's end and what lies from there to 1 MiB. */
export function usableRanges(memory: GuestMemory): UsableRange[] {
  const ranges: UsableRange[] = [];
  for (const region of memory.regions) {
    const end = region.guestAddress + region.size;
    if (region.guestAddress > 0) {
      ranges.push({ start: region.guestAddress, end });
    } else {
      ranges.push({ start: 0, end: Math.min(end, EBDA_START) });
      if (end > HIGH_RAM_START) ranges.push({ start: HIGH_RAM_START, end });
    }
  }
  return ranges;
}

/**
 * Who lies where in the guest's memory at boot. Everything that is loaded or built asks here for its place, so that nothing overlaps.
 */
export class Placement {
  readonly usable: readonly UsableRange[];
  readonly #placed: PlacedRange[] = [];

  constructor(memory: GuestMemory) {
    this.usable = usableRanges(memory);
  }

  /** Everything placed so far, by address. */
  get placed(): readonly PlacedRange[] {
    return this.#placed;
  }

  /** What occupies any byte of the range, if anything does. */
  occupant(start: number, end: number): PlacedRange | undefined {
    return this.#placed.find((range) => range.start < end && start < range.end);
  }

  /** Whether all of the range is usable RAM. */
  isUsable(start: number, end: number): boolean {
    return this.usable.some((range) => range.start <= start && end <= range.end);
  }

  /**
   * Takes `[start, start + size)` as it is: a place that the image names.
   * @param where the file that the message is about
   * @throws ConfigError where that is not usable RAM, or is taken
   */
  reserve(what: string, start: number, size: number, where: string): void {
    if (size === 0) return;
    const end = start + size;
    if (!this.isUsable(start, end)) {
      const top = this.usable.at(-1)!.end;
      throw end > top
        ? new ConfigError(`the ${what} needs guest memory up to ${hex(end)}, and there is none above ${hex(top)}`, {
            where,
            hint: `give the guest at least ${sizeText(end)}`,
          })
        : new ConfigError(`the ${what} wants ${hex(start)} to ${hex(end)}, which is not all RAM`, {
            where,
            hint: `RAM is ${this.usable.map((range) => `${hex(range.start)} to ${hex(range.end)}`).join(', ')}`,
          });
    }
    const other = this.occupant(start, end);
    if (other !== undefined) {
      throw new ConfigError(`the ${what} at ${hex(start)} overlaps the ${other.what} at ${hex(other.start)}`, {
        where,
      });
    }
    this.#insert({ what, start, end });
  }

  /**
   * Takes the lowest free `size` bytes of usable RAM in `[min, max)`, aligned to `alignment`.
   * @returns the address, or -1 where there is no room
   */
  allocateLow(what: string, size: number, alignment: number, min: number, max: number): number {
    for (const range of this.usable) {
      let start = alignUp(Math.max(range.start, min), alignment);
      const limit = Math.min(range.end, max);
      while (start + size <= limit) {
        const other = this.occupant(start, start + size);
        if (other === undefined) {
          this.#insert({ what, start, end: start + size });
          return start;
        }
        start = alignUp(other.end, alignment);
      }
    }
    return -1;
  }

  /**
   * Takes the highest free `size` bytes of usable RAM in `[min, max)`, aligned to `alignment`.
   * @returns the address, or -1 where there is no room
   */
  allocateHigh(what: string, size: number, alignment: number, min: number, max: number): number {
    for (const range of this.usable.toReversed()) {
      const floor = Math.max(range.start, min);
      let start = alignDown(Math.min(range.end, max) - size, alignment);
      while (start >= floor) {
        const other = this.occupant(start, start + size);
        if (other === undefined) {
          this.#insert({ what, start, end: start + size });
          return start;
        }
        start = alignDown(other.start - size, alignment);
      }
    }
    return -1;
  }

  #insert(range: PlacedRange): void {
    const at = this.#placed.findIndex((other) => other.start > range.start);
    this.#placed.splice(at < 0 ? this.#placed.length : at, 0, range);
  }
}
