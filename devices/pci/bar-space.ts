import type { BusDevice } from '../bus.ts';
import type { MmioBus } from '../mmio-bus.ts';

/** What stands behind a function's only BAR. */
export interface PciBar {
  /** Bytes, a power of two and at least 16. */
  readonly size: number;
  readonly device: BusDevice;
  /** Called when it begins to be decoded at an address, guest-physical, or ceases to be decoded anywhere. */
  moved?(address: number | undefined): void;
}

/** One BAR's place on the memory bus. */
export interface BarPlace {
  /** Where it is decoded, guest-physical; undefined: nowhere. */
  readonly address: number | undefined;
  /** Software has written its address, or disabled it (undefined). */
  move(address: number | undefined): void;
}

/**
 * The part of the memory bus where BARs can be. What guests write into them is not to be trusted: a BAR over RAM, over another one
 * or over anything else that is on the bus is not decoded, and comes back as soon as what it lies over is moved away.
 */
export class BarSpace {
  readonly #bus: MmioBus;
  readonly #start: number;
  readonly #end: number;
  readonly #places: Place[] = [];

  /** @param start,end addresses outside of which there are no BARs, for that is where RAM is */
  constructor(bus: MmioBus, start: number, end: number) {
    this.#bus = bus;
    this.#start = start;
    this.#end = end;
  }

  /** A place for a BAR, which is nowhere yet. */
  add(bar: PciBar): BarPlace {
    const place = new Place(this, bar);
    this.#places.push(place);
    return place;
  }

  /** Puts a BAR where its registers say, if that is free. */
  settle(place: Place): void {
    const before = place.address;
    if (before !== undefined && before !== place.wanted) {
      this.#bus.remove(before);
      place.address = undefined;
    }
    this.#map(place);
    if (place.address !== before) place.bar.moved?.(place.address);
    if (before === undefined || place.address === before) return;
    // What lay over it may be decoded now.
    for (const other of this.#places) {
      if (other.address === undefined && this.#map(other)) other.bar.moved?.(other.address);
    }
  }

  /** @returns whether it is decoded from now on */
  #map(place: Place): boolean {
    const { wanted, bar } = place;
    if (wanted === undefined || place.address !== undefined) return false;
    if (wanted < this.#start || wanted + bar.size > this.#end) return false;
    if (!this.#bus.isFree(wanted, bar.size)) return false;
    this.#bus.add(wanted, bar.size, bar.device);
    place.address = wanted;
    return true;
  }
}

class Place implements BarPlace {
  readonly bar: PciBar;
  address: number | undefined;
  /** What its registers say. */
  wanted: number | undefined;
  readonly #space: BarSpace;

  constructor(space: BarSpace, bar: PciBar) {
    this.#space = space;
    this.bar = bar;
  }

  move(address: number | undefined): void {
    this.wanted = address;
    this.#space.settle(this);
  }
}
