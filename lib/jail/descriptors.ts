import { writeSync } from 'node:fs';
import { AF_UNIX, MFD_CLOEXEC, SOCK_CLOEXEC, SOCK_STREAM, SYS_socketpair } from '../ffi/constants.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { SYS } from './syscalls.ts';

const F_DUPFD_CLOEXEC = 1030;
/** Above the numbers that the new process gives to what it keeps, so that none is overwritten before it is used. */
const FIRST_NUMBER = 128;

/** Moves a descriptor to a number above those that the jailed mvm uses. */
export function moveUp(fd: number): number {
  const moved = call('fcntl', 'prepare the jail', fd, F_DUPFD_CLOEXEC, FIRST_NUMBER);
  tryCall('close', fd);
  return moved;
}

/** A pair of connected streams. */
export function streamPair(): [number, number] {
  const pair = new NativeBuffer(8);
  const type = SOCK_STREAM | SOCK_CLOEXEC;
  call('syscall', 'prepare the jail', SYS_socketpair, AF_UNIX, type, 0, pair.address, 0, 0);
  const ends: [number, number] = [pair.view.getInt32(0, true), pair.view.getInt32(4, true)];
  pair.release();
  return [moveUp(ends[0]), moveUp(ends[1])];
}

/** A file without a name that holds these bytes; it is read from its beginning through `/proc/self/fd`, or with offsets. */
export function memoryFile(content: Uint8Array): number {
  const name = new NativeBuffer(8);
  const fd = call('syscall', 'prepare the jail', SYS.memfd_create, name.address, MFD_CLOEXEC, 0, 0, 0, 0);
  name.release();
  for (let done = 0; done < content.length; ) {
    done += writeSync(fd, content, done, content.length - done, done);
  }
  return moveUp(fd);
}
