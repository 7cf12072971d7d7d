import { readSync, writeSync } from 'node:fs';

/** What the mvm in the jail says once its guest can run, and the answer, when who looks for it from outside can find it. */
export const READY = 1;
/** What the mvm in the jail says when it has given the terminal back, and is to be stopped: in its namespace nobody else can. */
export const STOP = 2;
/** Other bytes for the mvm in the jail are the numbers of signals. */
export const GO = 0;

/** Waits for a byte. @returns undefined where none will come any more */
export function receiveByte(fd: number): number | undefined {
  const byte = Buffer.alloc(1);
  try {
    return readSync(fd, byte) === 1 ? byte[0] : undefined;
  } catch (error) {
    // The other end went without having read everything: unix(7).
    if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') return undefined;
    throw error;
  }
}

/** @returns false where nobody takes it any more */
export function sendByte(fd: number, byte: number): boolean {
  try {
    return writeSync(fd, Uint8Array.of(byte)) === 1;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EPIPE' || code === 'ECONNRESET') return false;
    throw error;
  }
}
