import { writeSync } from 'node:fs';
import { ExitCode, MvmError } from '../errors.ts';

const STDOUT = 1;

/** An output that mvm needs failed. */
export class OutputError extends MvmError {
  constructor(message: string, options: { where?: string; hint?: string; cause?: unknown } = {}) {
    super(ExitCode.OutputFailed, message, options);
  }

  /** What a failed write to `where` means. */
  static from(error: unknown, where: string): OutputError {
    const { code } = error as NodeJS.ErrnoException;
    return new OutputError(describe(code), { where, cause: error });
  }
}

function describe(code: string | undefined): string {
  switch (code) {
    case 'EPIPE':
      return 'its reader closed it early';
    case 'ENOSPC':
    case 'EDQUOT':
      return 'the disk is full';
    case 'EBADF':
      return 'is closed';
    default:
      return `cannot be written (${code ?? 'unknown error'})`;
  }
}

/**
 * Writes all of `text` to standard output, waiting where a non-blocking reader is slow.
 * @throws OutputError
 */
export function writeStdout(text: string): void {
  const bytes = Buffer.from(text);
  let done = 0;
  while (done < bytes.length) {
    try {
      done += writeSync(STDOUT, bytes, done);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw OutputError.from(error, 'standard output');
      // Whoever gave us a non-blocking pipe left no other way to wait for it without an event loop.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
