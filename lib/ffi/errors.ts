import { getSystemErrorName } from 'node:util';
import { ExitCode, MvmError, type MvmErrorOptions } from '../errors.ts';

/** The name of an errno of Linux (`ENOENT` for 2), or its number where it has none. */
export function errnoName(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `errno ${errno}`;
  }
}

/** A libc function failed: which, with what errno, and what it was for. */
export class SystemError extends MvmError {
  readonly call: string;
  readonly errno: number;
  /** The errno by name, as in errno(3). */
  readonly code: string;

  constructor(call: string, errno: number, purpose: string, options: MvmErrorOptions = {}) {
    const code = errnoName(errno);
    super(ExitCode.HostUnable, `cannot ${purpose}: ${call} failed with ${code}`, options);
    this.call = call;
    this.errno = errno;
    this.code = code;
  }
}
