import { writeSync } from 'node:fs';
import { MFD_CLOEXEC, SYS_memfd_create } from '../ffi/constants.ts';
import { tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { MACHINE_CODE } from './machine-code.ts';

/** What module.S calls, in the order of the quadwords at its end. */
const FUNCTIONS = ['napi_create_function', 'napi_get_cb_info', 'napi_get_value_int64'] as const;

/** Makes a function that calls the routine at a host address. */
type Bind = (address: number) => () => void;

/** null: it cannot be loaded here, as where the host lets no memory file be executed. */
let loaded: Bind | null | undefined;

function load(): Bind | null {
  const file = Buffer.from(MACHINE_CODE.module, 'hex');
  for (const [i, name] of FUNCTIONS.entries()) {
    const address = tryCall('dlsym', 0, name);
    if (address === 0) return null;
    file.writeBigUInt64LE(BigInt(address), file.length + 8 * (i - FUNCTIONS.length));
  }
  const name = new NativeBuffer(8);
  const fd = tryCall('syscall', SYS_memfd_create, name.address, MFD_CLOEXEC, 0, 0, 0, 0);
  name.release();
  if (fd < 0) return null;
  try {
    writeSync(fd, file);
    const module: { exports: unknown } = { exports: {} };
    // A name of its own: ffi-rs may have been loaded as /proc/self/fd/…, and the dynamic linker takes equal names for the same object.
    process.dlopen(module, `/proc/thread-self/fd/${fd}`);
    return typeof module.exports === 'function' ? (module.exports as Bind) : null;
  } catch {
    return null;
  } finally {
    tryCall('close', fd);
  }
}

/**
 * Makes a function of JavaScript that calls machine code at a host address, on this thread, without arguments or result.
 * @returns undefined where the host does not let such a module be loaded
 */
export function nativeFunction(address: number): (() => void) | undefined {
  if (loaded === undefined) loaded = load();
  return loaded?.(address);
}
