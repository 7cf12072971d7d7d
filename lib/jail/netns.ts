import { closeSync, openSync } from 'node:fs';
import { HostError } from '../errors.ts';
import { tryCall } from '../ffi/libc.ts';
import { CLONE_NEWNET } from './syscalls.ts';

/** What kind of namespace a file is (<linux/nsfs.h>). */
const NS_GET_NSTYPE = 0xb703;
const HINT = 'name one as /run/netns/NAME, which «ip netns add NAME» makes';

/** Opens the file of a network namespace. @throws HostError where it is none */
export function openNetNamespace(path: string): number {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new HostError(`cannot open ${path} (${code})`, { where: '--netns', hint: HINT, cause: error });
  }
  if (tryCall('ioctl', fd, NS_GET_NSTYPE, 0) === CLONE_NEWNET) return fd;
  closeSync(fd);
  throw new HostError(`${path} is no network namespace`, { where: '--netns', hint: HINT });
}
