import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { ConfigError } from '../errors.ts';

/** Bytes of a kernel or an initrd, read straight to where they belong. */
export interface ImageSource {
  /** What to call it in messages: the path that the user gave. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /**
   * Copies `length` bytes at `position` to `target` at `targetOffset`. Both ranges must exist.
   * @throws ConfigError where the file cannot be read, or has become shorter
   */
  readInto(target: Uint8Array, targetOffset: number, position: number, length: number): void;
}

/** One `read` moves at most 2³¹ - 4096 bytes (read(2)). */
const READ_MAX = 2 ** 30;

const HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'check the path',
  ENOTDIR: 'check the path',
  EACCES: 'make it readable for this user',
  EPERM: 'make it readable for this user',
  EISDIR: 'name a file',
};

function fileError(name: string, verb: string, error: unknown): ConfigError {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  const hint = HINTS[code];
  const message = code === 'ENOENT' ? 'no such file' : `cannot ${verb} it (${code})`;
  return new ConfigError(message, { where: name, cause: error, ...(hint === undefined ? {} : { hint }) });
}

/** An open file. Close it with `close`, or by `using`. */
export class FileSource implements ImageSource, Disposable {
  readonly name: string;
  readonly size: number;
  readonly #fd: number;

  /**
   * Opens a regular file for reading.
   * @param what what the file is to be, for messages: `kernel`, `initrd`
   * @throws ConfigError where there is none, it is empty, or is not a regular file
   */
  constructor(path: string, what: string) {
    this.name = path;
    try {
      // O_NONBLOCK: a FIFO that nobody writes must not hang the start; it is refused below.
      this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      throw fileError(path, 'open', error);
    }
    const stat = fstatSync(this.#fd);
    this.size = stat.size;
    if (!stat.isFile() || stat.size === 0) {
      this.close();
      throw stat.isFile()
        ? new ConfigError(`the ${what} is empty`, { where: path, hint: 'was it built or downloaded completely?' })
        : new ConfigError(`the ${what} is not a regular file`, { where: path, hint: 'name a file' });
    }
  }

  readInto(target: Uint8Array, targetOffset: number, position: number, length: number): void {
    for (let done = 0; done < length; ) {
      let count: number;
      try {
        count = readSync(this.#fd, target, targetOffset + done, Math.min(length - done, READ_MAX), position + done);
      } catch (error) {
        throw fileError(this.name, 'read', error);
      }
      if (count === 0) throw new ConfigError('it became shorter while it was read', { where: this.name });
      done += count;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Bytes in memory, such as an unpacked payload; they may lie in the guest's memory already. */
export class BytesSource implements ImageSource {
  readonly name: string;
  readonly bytes: Uint8Array;

  constructor(name: string, bytes: Uint8Array) {
    this.name = name;
    this.bytes = bytes;
  }

  get size(): number {
    return this.bytes.length;
  }

  readInto(target: Uint8Array, targetOffset: number, position: number, length: number): void {
    // `set` moves overlapping bytes of one buffer as memmove does.
    target.set(this.bytes.subarray(position, position + length), targetOffset);
  }
}

/** A copy of up to `length` first bytes. */
export function readHead(source: ImageSource, length: number): Uint8Array {
  const head = new Uint8Array(Math.min(length, source.size));
  source.readInto(head, 0, 0, head.length);
  return head;
}
