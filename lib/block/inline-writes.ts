/** Writes of whole pages need nothing to be read first. */
const PAGE_SIZE = 4096;
/** So many bytes are copied at once: about 2 ms, for which everything else waits. */
const MOST_BYTES = 8 << 20;
/** A batch that takes more cycles than this, and than its bytes take to copy, has waited for something: about 5 ms, and 1 byte a cycle. */
const LONG_KILOCYCLES = 1 << 14;
const COPY_BYTES_PER_KILOCYCLE = 1 << 10;
/** So many batches in a row: a single one may only have had to wait for its CPU, where the host is busy. */
const LONG_IN_A_ROW = 2;
/** Writes that go through the ring after one that has waited: twice as many each time, and fewer again with each batch that has not. */
const SHORTEST_REST = 256;
const LONGEST_REST = 4096;

/**
 * Decides which writes of an asynchronous engine are made at once.
 *
 * A buffered write is a copy into the page cache: microseconds. io_uring makes it at once only where the file system can promise not to wait;
 * ext4 cannot (pwritev2 with RWF_NOWAIT: EOPNOTSUPP), so that a kernel thread has to make it, one at a time for each file, for several
 * times the cost. So writes are made at once, until they turn out to wait: for the disk to take dirty pages, or for the journal. Then
 * they go through the ring for a while.
 */
export class InlineWrites {
  readonly #possible: boolean;
  #rest = 0;
  #nextRest = SHORTEST_REST;
  #long = 0;

  /** @param possible whether the file has a page cache that is written from time to time: a regular file */
  constructor(possible: boolean) {
    this.#possible = possible;
  }

  /** Asks about one write, of `length` bytes at `position`, that would be made together with others, of `gathered` bytes. */
  allows(position: number, length: number, gathered: number): boolean {
    if (!this.#possible || gathered + length > MOST_BYTES) return false;
    if (this.#rest > 0) {
      this.#rest--;
      return false;
    }
    return position % PAGE_SIZE === 0 && length % PAGE_SIZE === 0;
  }

  /** Learns how long writes of so many bytes in all have taken. */
  took(kilocycles: number, bytes: number): void {
    if (kilocycles <= LONG_KILOCYCLES + bytes / COPY_BYTES_PER_KILOCYCLE) {
      this.#long = 0;
      if (this.#nextRest > SHORTEST_REST) this.#nextRest--;
    } else if (++this.#long === LONG_IN_A_ROW) {
      this.#long = 0;
      this.#rest = this.#nextRest;
      this.#nextRest = Math.min(LONGEST_REST, 2 * this.#nextRest);
    }
  }
}
