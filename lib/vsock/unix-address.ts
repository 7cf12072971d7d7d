import { relative } from 'node:path';
import { AF_UNIX } from '../ffi/constants.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';

/** Bytes of a path in `struct sockaddr_un` (<linux/un.h>: UNIX_PATH_MAX), without its final NUL. */
export const MAX_UNIX_PATH = 107;
const FAMILY_SIZE = 2;

/** The address of a UNIX socket for the kernel: `struct sockaddr_un`, used again for one path after the other. */
export class UnixAddress {
  readonly #memory = new NativeBuffer(FAMILY_SIZE + MAX_UNIX_PATH + 1);
  /** Bytes of the address that was set last. */
  length = 0;

  get address(): number {
    return this.#memory.address;
  }

  /**
   * Sets a path. A long one is shortened, if possible, by saying where it is from here.
   * @returns false where it is too long all the same
   */
  set(path: string): boolean {
    const bytes = [path, relative(process.cwd(), path)]
      .map((spelling) => Buffer.from(spelling))
      .find(({ length }) => length <= MAX_UNIX_PATH);
    if (bytes === undefined) return false;
    this.#memory.bytes.fill(0);
    this.#memory.view.setUint16(0, AF_UNIX, true);
    this.#memory.bytes.set(bytes, FAMILY_SIZE);
    this.length = FAMILY_SIZE + bytes.length + 1;
    return true;
  }
}
