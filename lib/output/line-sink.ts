import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { ConfigError } from '../errors.ts';

/** Where lines go. A sink never throws and never blocks: `write` says whether the line was taken. */
export interface LineSink {
  write(line: string): boolean;
  close(): void;
}

/**
 * Writes to a descriptor without waiting for it. A line that it does not take (a full pipe, a full disk, a reader that
 * went) is lost: the guest matters more.
 */
export class DescriptorSink implements LineSink {
  readonly #fd: number;
  readonly #owned: boolean;
  /** Whether only a part of the last line was taken. */
  #isTorn = false;

  constructor(fd: number, owned: boolean) {
    this.#fd = fd;
    this.#owned = owned;
  }

  write(line: string): boolean {
    const bytes = Buffer.from(this.#isTorn ? `\n${line}` : line);
    try {
      this.#isTorn = writeSync(this.#fd, bytes) < bytes.length;
      return !this.#isTorn;
    } catch {
      return false;
    }
  }

  close(): void {
    if (this.#owned) closeSync(this.#fd);
  }
}

/**
 * Opens a file or named pipe to append lines to. A file is made where there is none.
 * @param what is opened, for the error: "the log"
 * @throws ConfigError
 */
export function openLineSink(path: string, what: string): LineSink {
  const { O_RDWR, O_CREAT, O_APPEND, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    // Reading too, so that a named pipe without a reader can be opened (fifo(7)), as Firecracker does.
    return new DescriptorSink(openSync(path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY, 0o600), true);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError(`cannot open ${what} (${code})`, { where: path, cause: error });
  }
}
