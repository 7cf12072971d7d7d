import { closeSync, fstatSync, readSync } from 'node:fs';
import { deserialize, serialize } from 'node:v8';
import type { VmConfig } from '../config/types.ts';
import type { ResourceLimits } from '../confine/resource-limits.ts';
import type { Profiles } from '../seccomp/profile.ts';
import { memoryFile } from './descriptors.ts';

/** What the mvm that was started tells the one in the jail. */
export interface Handover {
  readonly config: VmConfig;
  readonly profiles: Profiles | undefined;
  readonly limits: ResourceLimits;
  /** The user that it is to become before the guest runs; undefined: it stays who it is. */
  readonly identity: { readonly uid: number; readonly gid: number } | undefined;
  /** Whether standard error is to be given up once the guest runs. */
  readonly daemonize: boolean;
  readonly debug: boolean;
  /** The descriptor of ffi-rs's shared object; undefined: it is loaded from where it is installed. */
  readonly bindingFd: number | undefined;
}

/** @returns a descriptor to read it from */
export function writeHandover(handover: Handover): number {
  return memoryFile(serialize(handover));
}

/** Reads what was handed over, and closes the descriptor. */
export function readHandover(fd: number): Handover {
  const bytes = Buffer.alloc(fstatSync(fd).size);
  readSync(fd, bytes, 0, bytes.length, 0);
  closeSync(fd);
  return deserialize(bytes) as Handover;
}
