import { constants, fstatSync, statSync } from 'node:fs';
import { ConfigError } from '../errors.ts';
import { O_CLOEXEC } from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';

const { O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;

export const STDIN = 0;
export const STDOUT = 1;

/** What a descriptor refers to, as far as waiting for it matters: a regular file never makes anybody wait. */
export type DescriptorKind = 'terminal' | 'file' | 'stream';

/** A file descriptor of the console's host end. */
export interface Descriptor {
  readonly fd: number;
  readonly kind: DescriptorKind;
  /** Whether it is `O_NONBLOCK`. Never so for a description that we share with others: the flag would be theirs too. */
  readonly nonBlocking: boolean;
  /** What the user calls it. */
  readonly name: string;
  /** Whether it is ours to close. */
  readonly owned: boolean;
}

/**
 * Standard input or output, non-blocking where possible.
 *
 * `O_NONBLOCK` belongs to the open file description, which we share with the shell that started us and with whatever else it
 * runs. So a terminal or pipe is opened once more through /proc, which makes a description of our own. Where that is not
 * allowed (a terminal of another user after `su`, a socket) the shared one is used, with care for what may block. A file stays as it is: the
 * offset and `O_APPEND` of its description matter.
 */
export function openStandard(fd: typeof STDIN | typeof STDOUT): Descriptor {
  const name = fd === STDIN ? 'standard input' : 'standard output';
  const kind = kindOf(fd);
  if (kind !== 'file') {
    // A terminal is opened both ways: help is shown on the one that is typed at.
    const modes =
      kind === 'terminal' ? [O_RDWR, fd === STDIN ? O_RDONLY : O_WRONLY] : [fd === STDIN ? O_RDONLY : O_WRONLY];
    for (const mode of modes) {
      const own = tryCall('open', `/proc/self/fd/${fd}`, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
      if (own >= 0) return { fd: own, kind, nonBlocking: true, name, owned: true };
    }
  }
  return { fd, kind, nonBlocking: false, name, owned: false };
}

/**
 * A file, named pipe or terminal for output. A file is made where it is not there, and appended to. A named pipe need not have a
 * reader yet: what the guest prints waits in it.
 * @throws ConfigError where it cannot be opened
 */
export function openOutput(path: string): Descriptor {
  const fifo = statSync(path, { throwIfNoEntry: false })?.isFIFO() === true;
  const mode = fifo ? O_RDWR : O_WRONLY | O_CREAT | O_APPEND;
  const fd = tryCall('open', path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0o600);
  if (fd < 0) throw new ConfigError(`cannot open it for the guest's output (${errnoName(-fd)})`, { where: path });
  return { fd, kind: kindOf(fd), nonBlocking: true, name: path, owned: true };
}

export function closeDescriptor(descriptor: Descriptor): void {
  if (descriptor.owned) tryCall('close', descriptor.fd);
}

function kindOf(fd: number): DescriptorKind {
  if (tryCall('isatty', fd) === 1) return 'terminal';
  const status = fstatSync(fd);
  return status.isFIFO() || status.isSocket() ? 'stream' : 'file';
}
