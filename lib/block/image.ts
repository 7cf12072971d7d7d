import { closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs';
import { SECTOR_SIZE } from '../../devices/virtio/block/constants.ts';
import { ConfigError } from '../errors.ts';
import {
  EACCES,
  EAGAIN,
  EOPNOTSUPP,
  F_OFD_SETLK,
  F_RDLCK,
  F_UNLCK,
  F_WRLCK,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  SYS_fallocate,
} from '../ffi/constants.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { s16, s32, s64, struct } from '../kvm/layout.ts';

/** `struct flock` of fcntl(2), as <fcntl.h> has it on x86-64. */
export const flock = struct('flock', { l_type: s16, l_whence: s16, l_start: s64, l_len: s64, l_pid: s32 });

/** Questions to a block device (<linux/fs.h>). */
export const BLKSSZGET = 0x1268;
export const BLKGETSIZE64 = 0x8008_1272;

/** What errors of open(2) mean to a user. */
const HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'make the image, or correct the path',
  EACCES: 'give mvm access to it, or set is_read_only',
  EPERM: 'give mvm access to it, or set is_read_only',
  EROFS: 'set is_read_only',
  EBUSY: 'it is mounted, or another virtual machine has it',
  ETXTBSY: 'set is_read_only',
};

export interface ImageOptions {
  readonly path: string;
  readonly readOnly: boolean;
  /** Where the configuration names it, for errors: `/drives/0/path_on_host`. */
  readonly where: string;
  readonly warn: (message: string) => void;
}

/** An open disk image: a raw file or a block device, locked against others. */
export class DiskImage {
  readonly fd: number;
  readonly readOnly: boolean;
  /** Whole sectors of 512 bytes. */
  readonly sectors: number;
  /** Bytes of a logical block of the disk behind it. */
  readonly blockSize: number;
  /** A file rather than a block device. */
  readonly isRegularFile: boolean;
  /** Whether ranges can be discarded and zeroed without writing them. */
  readonly canPunchHoles: boolean;

  /** @throws ConfigError where it cannot be opened, is no disk, or another virtual machine has it */
  constructor({ path, readOnly, where, warn }: ImageOptions) {
    this.readOnly = readOnly;
    this.fd = open(path, readOnly, where);
    try {
      const stats = fstatSync(this.fd);
      if (!stats.isFile() && !stats.isBlockDevice()) {
        throw new ConfigError(`${path} is neither a file nor a block device`, { where });
      }
      this.isRegularFile = stats.isFile();
      lock(this.fd, path, readOnly, where, warn);
      const size = sizeOf(this.fd, stats);
      this.sectors = Math.floor(size / SECTOR_SIZE);
      if (this.sectors === 0) throw new ConfigError(`${path} has no sector of ${SECTOR_SIZE} bytes`, { where });
      if (size % SECTOR_SIZE !== 0)
        warn(`${path}: the last ${size % SECTOR_SIZE} bytes are no whole sector, and left out`);
      this.blockSize = stats.isBlockDevice() ? logicalBlockSize(this.fd) : SECTOR_SIZE;
      this.canPunchHoles = !readOnly && (stats.isBlockDevice() || canPunchHoles(this.fd, size));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Gives up the lock at once: the kernel may hold on to the file for a moment, if an io_uring had it. */
  close(): void {
    setLock(this.fd, F_UNLCK);
    closeSync(this.fd);
  }
}

function open(path: string, readOnly: boolean, where: string): number {
  try {
    const fd = openSync(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
    if (readOnly || !fstatSync(fd).isBlockDevice()) return fd;
    // O_EXCL without O_CREAT on a block device: fails where it is mounted or otherwise in use (open(2)).
    closeSync(fd);
    return openSync(path, constants.O_RDWR | constants.O_EXCL);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    const hint = HINTS[code];
    throw new ConfigError(`cannot open ${path}${readOnly ? '' : ' for writing'} (${code})`, {
      where,
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

/**
 * Locks the image until it is closed: many may read it, or one may write it.
 *
 * Open file description locks, not flock(2): udev takes shared flocks of block devices whenever it likes.
 */
function lock(fd: number, path: string, readOnly: boolean, where: string, warn: (message: string) => void): void {
  const result = setLock(fd, readOnly ? F_RDLCK : F_WRLCK);
  if (result === 0) return;
  if (result === -EAGAIN || result === -EACCES) {
    throw new ConfigError(
      `${path} is in use by another virtual machine or drive${readOnly ? ', which writes it' : ''}`,
      {
        where,
        hint: readOnly ? 'stop the other one' : 'stop the other one, or set is_read_only on both',
      },
    );
  }
  warn(`${path}: its file system has no locks; see to it that nobody else uses the image`);
}

/** A lock of the whole file. @returns 0 or -errno */
function setLock(fd: number, type: number): number {
  const argument = new NativeBuffer(flock.size);
  flock.write(argument.view, 0, { l_type: type });
  return tryCall('fcntl', fd, F_OFD_SETLK, argument.address);
}

function sizeOf(fd: number, stats: Stats): number {
  if (!stats.isBlockDevice()) return stats.size;
  const answer = new NativeBuffer(8);
  call('ioctl', 'ask for the size of a disk', fd, BLKGETSIZE64, answer.address);
  return answer.getNumber64(0);
}

function logicalBlockSize(fd: number): number {
  const answer = new NativeBuffer(8);
  call('ioctl', 'ask for the block size of a disk', fd, BLKSSZGET, answer.address);
  return answer.view.getInt32(0, true);
}

/** Asks the file system, with a hole behind the end of the file, where there is nothing to lose. */
function canPunchHoles(fd: number, size: number): boolean {
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const length = 4096;
  const start = Math.ceil(size / length) * length;
  return tryCall('syscall', SYS_fallocate, fd, mode, start, length, 0, 0) !== -EOPNOTSUPP;
}
