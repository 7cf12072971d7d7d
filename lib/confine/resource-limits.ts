import { ConfigProblems, type Problem } from '../config/problems.ts';
import { SYS_prlimit64 } from '../ffi/constants.ts';
import { call } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';

/** <bits/resource.h> */
const RLIMIT_FSIZE = 1;
const RLIMIT_CORE = 4;
const RLIMIT_NOFILE = 7;
const RLIMIT_AS = 9;

/** Descriptors where `no-file` is not given: Firecracker's default. */
const DEFAULT_NO_FILE = 2048;
/** What mvm itself has open, devices, Node's own and a few connections included. */
const MIN_NO_FILE = 64;

/** What `--resource-limit` asks for. */
export interface ResourceLimits {
  /** Bytes: the size of the largest file that may be written (RLIMIT_FSIZE). Undefined: as it was. */
  readonly fileSize: number | undefined;
  /** One more than the highest descriptor (RLIMIT_NOFILE). */
  readonly openFiles: number;
}

/**
 * Reads what `--resource-limit` was given, each `fsize=BYTES` or `no-file=COUNT`, as Firecracker's jailer has it.
 * @returns the limits; and everything that is wrong
 */
export function parseResourceLimits(texts: readonly string[]): {
  readonly limits: ResourceLimits;
  readonly problems: readonly Problem[];
} {
  const problems: Problem[] = [];
  const report = (message: string, hint: string) =>
    problems.push({ kind: 'usage', where: '--resource-limit', message, hint });
  const found = new Map<string, number>();
  for (const text of texts) {
    const [, name, digits] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    const value = /^\d+$/.test(digits ?? '') ? Number(digits) : Number.NaN;
    if (name !== 'fsize' && name !== 'no-file') {
      report(`${JSON.stringify(text)} is neither fsize=BYTES nor no-file=COUNT`, 'give it as fsize=1073741824');
    } else if (!Number.isSafeInteger(value)) {
      report(`${name} must be a whole number, not ${JSON.stringify(digits)}`, `give it as ${name}=4096`);
    } else if (name === 'no-file' && value < MIN_NO_FILE) {
      report(`no-file is ${value}, and mvm itself needs ${MIN_NO_FILE}`, `give at least ${MIN_NO_FILE}`);
    } else if (found.has(name)) {
      report(`${name} was given before`, 'give it once');
    } else {
      found.set(name, value);
    }
  }
  return { limits: { fileSize: found.get('fsize'), openFiles: found.get('no-file') ?? DEFAULT_NO_FILE }, problems };
}

/** The limits that were asked for. @throws ConfigProblems */
export function resourceLimits(texts: readonly string[] = []): ResourceLimits {
  const { limits, problems } = parseResourceLimits(texts);
  const [first, ...others] = problems;
  if (first !== undefined) throw new ConfigProblems([first, ...others]);
  return limits;
}

/**
 * Limits what this process may use, for good: soft and hard limits. A hard limit that is lower already stays.
 * @param addressSpace bytes of address space (RLIMIT_AS)
 */
export function applyResourceLimits({ fileSize, openFiles }: ResourceLimits, addressSpace: number): void {
  const memory = new NativeBuffer(32);
  const lower = (resource: number, value: number) => {
    const purpose = 'limit what this process may use';
    call('syscall', purpose, SYS_prlimit64, 0, resource, 0, memory.address + 16, 0, 0);
    // RLIM_INFINITY, all bits set, is the largest number.
    const hard = memory.view.getBigUint64(24, true);
    const limit = hard < BigInt(value) ? hard : BigInt(value);
    memory.view.setBigUint64(0, limit, true);
    memory.view.setBigUint64(8, limit, true);
    call('syscall', purpose, SYS_prlimit64, 0, resource, memory.address, 0, 0, 0);
  };
  lower(RLIMIT_CORE, 0);
  lower(RLIMIT_NOFILE, openFiles);
  lower(RLIMIT_AS, addressSpace);
  if (fileSize !== undefined) lower(RLIMIT_FSIZE, fileSize);
  memory.release();
}
