/** Width of one bus access, in bytes. */
export type AccessSize = 1 | 2 | 4 | 8;

/**
 * What sits behind a range of ports or of guest-physical addresses.
 *
 * `offset` is relative to the start of the range; an access never reaches beyond its end. Values are unsigned. Accesses of
 * 8 bytes are possible on the memory bus only, and the bus hands them to `read`/`write` as two of 4 (low half first).
 */
export interface BusDevice {
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
}

/** An interrupt line of a device: one call asserts and releases it (an edge), whatever carries it (irqfd, MSI). */
export interface InterruptLine {
  trigger(): void;
}
