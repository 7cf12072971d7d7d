import { EINTR } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';

/** Larger than any structure that an ioctl of KVM takes (CPUID: 256 entries of 40 bytes; XSAVE2 with AMX: 11 KiB). */
const BUFFER_SIZE = 64 * 1024;

let shared: NativeBuffer | undefined;

function ioctlBuffer(): NativeBuffer {
  shared ??= new NativeBuffer(BUFFER_SIZE);
  return shared;
}

/**
 * An ioctl whose argument is a number. One that a signal interrupted is made again: KVM_CREATE_VM is, by any signal that
 * has a handler.
 * @param purpose as in «cannot …»
 * @returns the ioctl's result
 * @throws SystemError
 */
export function ioctl(fd: number, request: number, argument: number, purpose: string): number {
  for (;;) {
    const result = tryCall('ioctl', fd, request, argument);
    if (result >= 0) return result;
    if (result !== -EINTR) throw new SystemError('ioctl', -result, purpose);
  }
}

/**
 * An ioctl whose argument is a structure that KVM reads and may write.
 * @returns the ioctl's result
 * @throws SystemError
 */
export function ioctlBytes(fd: number, request: number, argument: Uint8Array, purpose: string): number {
  const buffer = ioctlBuffer();
  buffer.bytes.set(argument);
  return ioctl(fd, request, buffer.address, purpose);
}

/**
 * An ioctl that fills a structure.
 * @param size bytes of the structure
 * @param header what it must hold before (the number of entries there is room for)
 * @returns a copy of the structure
 * @throws SystemError
 */
export function ioctlRead(
  fd: number,
  request: number,
  size: number,
  purpose: string,
  header?: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const buffer = ioctlBuffer();
  if (header !== undefined) buffer.bytes.set(header);
  ioctl(fd, request, buffer.address, purpose);
  return new Uint8Array(buffer.bytes.subarray(0, size));
}

/**
 * Like `ioctlRead`, for requests whose failure is an answer.
 * @returns the structure (a view, valid until the next ioctl), or the errno
 */
export function tryIoctlRead(fd: number, request: number, size: number, header?: Uint8Array): Uint8Array | number {
  const buffer = ioctlBuffer();
  if (header !== undefined) buffer.bytes.set(header);
  const result = tryCall('ioctl', fd, request, buffer.address);
  return result < 0 ? -result : buffer.bytes.subarray(0, size);
}

/** An ioctl that writes as many bytes as it was given: `KVM_SET_MSRS` stops at the first that it refuses. */
export function ioctlCount(fd: number, request: number, argument: Uint8Array, wanted: number, purpose: string): void {
  const done = ioctlBytes(fd, request, argument, purpose);
  if (done !== wanted) throw new SystemError('ioctl', 22, `${purpose} (KVM refused number ${done} of ${wanted})`);
}
