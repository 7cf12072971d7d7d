/** Says how fast a device may work. The buckets, their clock and their timer are the host's business. */
export interface RequestLimiter {
  /**
   * Asks to do `operations` of `bytes` in total now.
   * @returns false where it is too early: nothing was taken, and the listener is called when it is worth asking again
   */
  take(operations: number, bytes: number): boolean;
  /** Registers the one listener for the end of waiting. */
  onReady(listener: () => void): void;
}
