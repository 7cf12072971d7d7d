/**
 * Where random bytes come from.
 *
 * Fills are begun, carried out together by `submit`, and then asked for their results, which stand until the next `fill`.
 */
export interface EntropySource {
  /** Fills that one `submit` carries out. */
  readonly capacity: number;
  /**
   * Begins to fill `length` bytes of guest memory.
   * @param offset in `GuestMemory.buffer`
   * @returns its place, for `result`: 0 for the first since the last `submit`, and so on
   */
  fill(offset: number, length: number): number;
  submit(): void;
  /** Bytes that were written, or -errno. */
  result(place: number): number;
}
