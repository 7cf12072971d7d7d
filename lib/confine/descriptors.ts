import { readdirSync, readlinkSync } from 'node:fs';
import { tryCall } from '../ffi/libc.ts';

const STDERR = 2;
const RING = 'anon_inode:[io_uring]';
/** Kinds of descriptors that Node makes for itself while it starts. Nobody passes them on: whoever makes them closes them on exec. */
const NODES_OWN = ['anon_inode:[eventpoll]', 'anon_inode:[eventfd]', RING];

/** What was open when mvm started, beside the standard streams and what Node needs. */
export interface FirstDescriptors {
  /** Left open by who started us. */
  readonly inherited: readonly number[];
  /** io_urings of Node's. */
  readonly rings: readonly number[];
}

/**
 * Looks at what is open. To be asked before mvm opens anything.
 *
 * That inherited ones lack `FD_CLOEXEC` does not tell, because Node sets it on all that it finds. Its pipes are known by having both ends here.
 */
export function firstDescriptors(): FirstDescriptors {
  const targets = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    const target = targetOf(fd);
    if (fd > STDERR && target !== undefined) targets.set(fd, target);
  }
  const ends = new Map<string, number>();
  for (const target of targets.values()) ends.set(target, (ends.get(target) ?? 0) + 1);
  const isNodes = (target: string) =>
    NODES_OWN.includes(target) || (target.startsWith('pipe:') && ends.get(target) === 2);
  const fds = [...targets.keys()];
  return {
    inherited: fds.filter((fd) => !isNodes(targets.get(fd)!)),
    rings: fds.filter((fd) => targets.get(fd) === RING),
  };
}

/** Undefined where it is closed: that of the directory itself, while it was read. */
function targetOf(fd: number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

export function closeDescriptors(fds: readonly number[]): void {
  for (const fd of fds) tryCall('close', fd);
}
