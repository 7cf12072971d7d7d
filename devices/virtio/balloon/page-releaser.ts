/** Takes guest memory that the guest has no use for back to the host. It reads as zeros when the guest touches it again. */
export interface PageReleaser {
  /** What can be taken back at all, in bytes: 4 KiB, or 2 MiB where memory consists of huge pages. */
  readonly pageSize: number;
  /**
   * Begins to take a range back.
   * @param offset in `GuestMemory.buffer`; whole pages from the beginning of guest memory on
   * @param length bytes, a multiple of `pageSize`
   */
  releasePages(offset: number, length: number): void;
  /** Carries out what was begun: only then may the guest hear of it. @returns how many ranges failed */
  finish(): number;
}
