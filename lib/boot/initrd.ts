import { ConfigError } from '../errors.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { HIGH_RAM_START, KIB } from '../memory/layout.ts';
import { sizeText } from './bytes.ts';
import type { ImageSource } from './image-source.ts';
import type { Placement } from './placement.ts';

/** Linux frees the initrd by pages: it must share none with anything else. */
const PAGE_SIZE = 4 * KIB;

/** Where an initrd lies. Bytes; size 0: none. */
export interface Initrd {
  readonly address: number;
  readonly size: number;
}

export const NO_INITRD: Initrd = { address: 0, size: 0 };

/**
 * Reads an initrd into the highest free RAM that ends at `addressMax`, or below, where the kernel will not need memory early. Where
 * there is no room below that, and the kernel can take it from anywhere, it goes above.
 *
 * @param addressMax the highest address that its last byte may have (`initrd_addr_max`)
 * @param canBeAbove4G whether the kernel takes an initrd above 4 GiB (`XLF_CAN_BE_LOADED_ABOVE_4G`)
 * @throws ConfigError where it does not fit, or cannot be read
 */
export function loadInitrd(
  source: ImageSource,
  memory: GuestMemory,
  placement: Placement,
  addressMax: number,
  canBeAbove4G: boolean,
): Initrd {
  const { size } = source;
  const pages = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
  let address = placement.allocateHigh('initrd', pages, PAGE_SIZE, HIGH_RAM_START, addressMax + 1);
  if (address < 0 && canBeAbove4G) {
    address = placement.allocateHigh('initrd', pages, PAGE_SIZE, HIGH_RAM_START, memory.end);
  }
  if (address < 0) {
    throw new ConfigError(
      `the initrd (${sizeText(size)}) does not fit into the guest's memory (${sizeText(memory.size)}) beside the kernel`,
      { where: source.name, hint: 'give the guest more memory' },
    );
  }
  source.readInto(memory.bytes, memory.offsetOf(address, size), 0, size);
  return { address, size };
}
