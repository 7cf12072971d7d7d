import { isUtf8 } from 'node:buffer';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { ConfigError } from '../errors.ts';

/** A configuration has a few kilobytes; more is a mistake (an image, `/dev/zero`). */
const MAX_SIZE = 4 * 1024 * 1024;

/** Standard input, in place of a path. */
export const STDIN = '-';

export interface TextFile {
  readonly text: string;
  /** Whether it is an ordinary file, so that paths in it can be relative to it; else a pipe, a socket or a terminal. */
  readonly isRegular: boolean;
}

/**
 * Reads a text file, or standard input for `-`. A byte order mark is dropped.
 * @param label how messages name it
 * @throws ConfigError where it cannot be read, is not UTF-8, or has more than 4 MiB
 */
export function readText(path: string, label: string): TextFile {
  let fd = -1;
  try {
    fd = path === STDIN ? 0 : openSync(path, 'r');
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw new ConfigError('is a directory, not a file', { where: label });
    const bytes = readAll(fd, label);
    if (!isUtf8(bytes)) throw new ConfigError('is not a text in UTF-8', { where: label });
    const text = bytes.toString('utf8');
    return { text: text.startsWith('\uFEFF') ? text.slice(1) : text, isRegular: stat.isFile() };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(describeFileError(error), { where: label, cause: error });
  } finally {
    if (fd > 0) closeSync(fd);
  }
}

function readAll(fd: number, label: string): Buffer {
  const chunks: Buffer[] = [];
  let size = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(64 * 1024);
    const count = readSync(fd, chunk);
    if (count === 0) return Buffer.concat(chunks, size);
    chunks.push(chunk.subarray(0, count));
    size += count;
    if (size > MAX_SIZE) throw new ConfigError('has more than 4 MiB: it is no configuration', { where: label });
  }
}

/** What a failed file operation means, in words. */
export function describeFileError(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return 'there is no such file';
    case 'ENOTDIR':
      return 'a part of the path is not a directory';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'EISDIR':
      return 'is a directory, not a file';
    case 'ELOOP':
      return 'too many symbolic links';
    case 'ENAMETOOLONG':
      return 'the path is too long';
    case 'ENXIO':
      return 'nothing is behind this device or socket';
    case 'EAGAIN':
      return 'has nothing to read';
    default:
      return `cannot be read (${code ?? message})`;
  }
}
