import { lstatSync, unlinkSync } from 'node:fs';
import { ConfigError } from '../errors.ts';
import {
  AF_UNIX,
  EADDRINUSE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SYS_accept4,
  SYS_bind,
  SYS_close,
  SYS_listen,
  SYS_socket,
} from '../ffi/constants.ts';
import { errnoName, SystemError } from '../ffi/errors.ts';
import type { NativeArena } from '../loop/arena.ts';
import { MAX_UNIX_PATH, UnixAddress } from './unix-address.ts';

/** Where the configuration names the socket. */
export const UDS_PATH = '/vsock/uds_path';
/** Connections that wait to be accepted; the kernel allows no more than net.core.somaxconn. */
const BACKLOG = 4096;

/** The UNIX socket at which the host asks for connections with the guest. Its file is there as long as this object is open. */
export class HostSocket {
  readonly fd: number;
  readonly path: string;
  readonly #arena: NativeArena;
  /** The file that is ours. */
  readonly #inode: bigint;
  #open = true;

  /** @throws ConfigError where the socket's file cannot be made */
  constructor(arena: NativeArena, path: string) {
    this.#arena = arena;
    this.path = path;
    const address = new UnixAddress();
    if (!address.set(path)) {
      throw new ConfigError(`${path} is longer than ${MAX_UNIX_PATH} bytes`, {
        where: UDS_PATH,
        hint: 'give a shorter path',
      });
    }
    this.fd = arena.invoke(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (this.fd < 0) throw new SystemError('socket', -this.fd, 'create the vsock socket');
    const bound = arena.invoke(SYS_bind, this.fd, address.address, address.length);
    if (bound < 0) {
      arena.invoke(SYS_close, this.fd);
      if (bound === -EADDRINUSE) {
        throw new ConfigError(`${path} exists already`, {
          where: UDS_PATH,
          hint: 'remove it if no other virtual machine uses it, or give another path',
        });
      }
      throw new ConfigError(`cannot create the socket ${path} (${errnoName(-bound)})`, {
        where: UDS_PATH,
        hint: 'give a path in a directory that mvm may write',
      });
    }
    this.#inode = lstatSync(path, { bigint: true }).ino;
    const listening = arena.invoke(SYS_listen, this.fd, BACKLOG);
    if (listening < 0) {
      this.close();
      throw new SystemError('listen', -listening, `wait for connections at ${path}`);
    }
  }

  /** The next connection's descriptor, or -errno. */
  accept(): number {
    return this.#arena.invoke(SYS_accept4, this.fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
  }

  /** Removes the file, unless another one is in its place, or the directory does not let us any more. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#arena.invoke(SYS_close, this.fd);
    try {
      if (lstatSync(this.path, { bigint: true, throwIfNoEntry: false })?.ino === this.#inode) unlinkSync(this.path);
    } catch (error) {
      // Who has no capabilities any more may remove files from their own directories only.
      if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
    }
  }
}
