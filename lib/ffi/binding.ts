import { createRequire } from 'node:module';

/** Parameter and result types of a foreign call, with ffi-rs's numbers. Addresses travel as I64: exact up to 2⁵³. */
export const DataType = { String: 0, I32: 1, Void: 7, I64: 8 } as const;
/** A Buffer, passed as the address of its first byte; ffi-rs takes arrays by such a description (997 is its tag for one). */
export const BUFFER = { ffiTypeTag: 997, type: 10, length: 0 } as const;
export type ParameterType = (typeof DataType)[keyof typeof DataType] | typeof BUFFER;

/** What ffi-rs's native `load` takes. Prepared once a function; only `paramsValue` changes from call to call. */
export interface PreparedCall {
  readonly library: string;
  readonly funcName: string;
  readonly retType: ParameterType;
  readonly paramsType: readonly ParameterType[];
  paramsValue: unknown[];
  readonly errno: boolean;
  readonly freeResultMemory: boolean;
}

/**
 * The native half of ffi-rs. Its JavaScript half re-reads the parameter description on every call, which costs more
 * than the call itself, so mvm prepares the description once and calls this directly.
 */
export interface NativeBinding {
  open(params: { library: string; path: string }): void;
  load(call: PreparedCall): unknown;
}

/** The name of ffi-rs's native half among the assets of the single executable. */
export const BINDING_ASSET = 'ffi-rs.node';

let bindingFd: number | undefined;

/** Says that ffi-rs's native half is in an open file: who started us has put it there. */
export function setBindingFd(fd: number): void {
  bindingFd = fd;
}

/** ffi-rs's native half where it is an asset of the executable; undefined: it is in node_modules. */
export function bindingAsset(): Uint8Array | undefined {
  const sea = process.getBuiltinModule('node:sea');
  return sea.isSea() ? new Uint8Array(sea.getRawAsset(BINDING_ASSET)) : undefined;
}

/** Loads ffi-rs's native half: from the executable's assets in `dist/mvm`, from node_modules otherwise. */
export function loadBinding(): NativeBinding {
  const handed = bindingFd === undefined ? undefined : loadFile(`/proc/self/fd/${bindingFd}`);
  if (handed !== undefined) return handed;
  const asset = bindingAsset();
  if (asset !== undefined) return loadAsset(asset);
  const require = createRequire(import.meta.filename);
  return require('@yuuang/ffi-rs-linux-x64-gnu') as NativeBinding;
}

/** @returns undefined where the file cannot be loaded, as where the host lets no memory file be executed */
function loadFile(file: string): NativeBinding | undefined {
  const module = { exports: {} };
  try {
    process.dlopen(module, file);
  } catch {
    return undefined;
  }
  return module.exports as NativeBinding;
}

/**
 * A shared object can only be loaded from a file: the asset is written to a private directory and loaded, and both are
 * removed before anything else happens. Directories mounted `noexec` refuse, so the likely ones are tried in turn.
 */
function loadAsset(asset: Uint8Array): NativeBinding {
  const fs = process.getBuiltinModule('node:fs');
  const candidates = [process.env.XDG_RUNTIME_DIR, process.env.TMPDIR, '/dev/shm', '/tmp', process.env.HOME, '.'];
  let failure: unknown;
  for (const parent of candidates) {
    if (!parent) continue;
    let directory: string | undefined;
    try {
      directory = fs.mkdtempSync(`${parent}/.mvm-`);
      const file = `${directory}/${BINDING_ASSET}`;
      fs.writeFileSync(file, asset, { mode: 0o700 });
      const module = { exports: {} };
      process.dlopen(module, file);
      return module.exports as NativeBinding;
    } catch (error) {
      failure = error;
    } finally {
      if (directory !== undefined) fs.rmSync(directory, { recursive: true, force: true });
    }
  }
  throw new Error(
    'mvm could not unpack its native part: no writable directory that allows execution; set TMPDIR to one',
    {
      cause: failure,
    },
  );
}
