import type { AccessSize, BusDevice } from './bus.ts';

/**
 * Ports that guests use although nothing is there: every access is answered as nobody would, and not counted.
 *
 * Linux's `io_delay` writes port 0x80 (0xed with `io_delay=0xed`) after each access to slow chips, so often that it would
 * drown what `Unclaimed` is meant to show.
 */
export class OpenBus implements BusDevice {
  read(_offset: number, size: AccessSize): number {
    return size === 1 ? 0xff : size === 2 ? 0xffff : 0xffff_ffff;
  }

  write(): void {}
}

/** POST code port, the usual `io_delay`. */
export const POST_CODE_PORT = 0x80;
/** The other port that Linux can delay with. */
export const ALTERNATE_DELAY_PORT = 0xed;
