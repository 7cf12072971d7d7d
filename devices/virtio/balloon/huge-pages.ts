/** Pages of 4 KiB in a huge page of 2 MiB. */
export const PAGES_PER_HUGE_PAGE = 512;

/**
 * Which huge pages the balloon holds completely: drivers give up pages of 4 KiB one by one, and the host can take back only whole
 * pages of 2 MiB.
 */
export class HugePages {
  /** A bit for each page of 4 KiB: it is in the balloon. */
  readonly #bits: Uint32Array;
  /** By huge page, how many of its pages are. */
  readonly #counts: Uint16Array;

  /** @param pages of 4 KiB in guest memory */
  constructor(pages: number) {
    this.#bits = new Uint32Array(Math.ceil(pages / 32));
    this.#counts = new Uint16Array(Math.ceil(pages / PAGES_PER_HUGE_PAGE));
  }

  /** A page comes into the balloon. @returns whether it is the last of its huge page */
  add(page: number): boolean {
    const word = page >>> 5;
    const bit = 1 << (page & 31);
    if ((this.#bits[word]! & bit) !== 0) return false;
    this.#bits[word]! |= bit;
    return ++this.#counts[page >>> 9]! === PAGES_PER_HUGE_PAGE;
  }

  /** A page leaves the balloon. */
  remove(page: number): void {
    const word = page >>> 5;
    const bit = 1 << (page & 31);
    if ((this.#bits[word]! & bit) === 0) return;
    this.#bits[word]! &= ~bit;
    this.#counts[page >>> 9]!--;
  }

  clear(): void {
    this.#bits.fill(0);
    this.#counts.fill(0);
  }
}
