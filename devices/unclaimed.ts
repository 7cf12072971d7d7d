import type { AccessSize } from './bus.ts';

/** Told of an access that nothing answers. `write` tells its direction; units: `address` and `size` in bytes. */
export type UnclaimedListener = (address: number, size: AccessSize, write: boolean) => void;

/** So many addresses are reported; a guest that scans the whole space must not fill the log. */
const REPORT_LIMIT = 64;

/**
 * Counts the accesses of one bus that no device claims, and reports each address once.
 *
 * An access that nothing answers is dropped (write) or floats high (read: all ones), as on an ISA or PCI bus.
 */
export class Unclaimed {
  readonly #listener: UnclaimedListener | undefined;
  readonly #reported = new Set<number>();
  /** Reads that found nobody, since start. */
  reads = 0;
  /** Writes that found nobody, since start. */
  writes = 0;

  /** @param listener called at most once an address, and for no more than 64 addresses */
  constructor(listener?: UnclaimedListener) {
    this.#listener = listener;
  }

  note(address: number, size: AccessSize, write: boolean): void {
    if (write) this.writes++;
    else this.reads++;
    if (this.#listener === undefined || this.#reported.size === REPORT_LIMIT || this.#reported.has(address)) return;
    this.#reported.add(address);
    this.#listener(address, size, write);
  }
}
