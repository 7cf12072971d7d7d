import type { PageReleaser } from './page-releaser.ts';

/** Makes ranges out of pages that come one after the other, upwards or downwards, as drivers' allocators hand them out. */
export class PageRuns {
  readonly #releaser: PageReleaser;
  #base = 0;
  #start = 0;
  #end = 0;

  constructor(releaser: PageReleaser) {
    this.#releaser = releaser;
  }

  /** @param base offset of guest memory in its buffer */
  begin(base: number): void {
    this.#base = base;
    this.#start = 0;
    this.#end = 0;
  }

  /** Adds bytes `start` up to `end` of guest memory: whole pages, not none. */
  add(start: number, end: number): void {
    if (start === this.#end) this.#end = end;
    else if (end === this.#start) this.#start = start;
    else {
      this.#release();
      this.#start = start;
      this.#end = end;
    }
  }

  /** Takes back what was added. @returns how many ranges failed */
  finish(): number {
    this.#release();
    this.#start = 0;
    this.#end = 0;
    return this.#releaser.finish();
  }

  #release(): void {
    if (this.#end > this.#start) this.#releaser.releasePages(this.#base + this.#start, this.#end - this.#start);
  }
}
