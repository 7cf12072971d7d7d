import {
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  SYS_landlock_add_rule,
  SYS_landlock_create_ruleset,
  SYS_landlock_restrict_self,
} from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { ThreadCall } from './thread-calls.ts';

/** <linux/landlock.h> */
const LANDLOCK_CREATE_RULESET_VERSION = 1;
const LANDLOCK_CREATE_RULESET_ERRATA = 2;
const LANDLOCK_RULE_PATH_BENEATH = 1;
/** How many bits of `LANDLOCK_ACCESS_FS_*` each version of the interface knows. */
const FS_BITS_BY_ABI = [0, 13, 14, 15, 15, 16, 16, 16, 16, 17] as const;
export const LANDLOCK_ACCESS_FS_REMOVE_FILE = 1 << 5;
/** To connect to a UNIX socket; from ABI 9 (Linux 7.1) on. */
export const LANDLOCK_ACCESS_FS_RESOLVE_UNIX = 1 << 16;
const LANDLOCK_ACCESS_NET_BIND_TCP = 1;
const LANDLOCK_ACCESS_NET_CONNECT_TCP = 2;
const LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 1;
const LANDLOCK_SCOPE_SIGNAL = 2;
/** Without this correction, threads of one process that restricted themselves cannot signal each other (erratum 2). */
const ERRATUM_SIGNALS_AMONG_THREADS = 1 << 1;
const NET_ABI = 4;
const SCOPE_ABI = 6;

/** What is still possible below a directory. */
export interface PathRule {
  readonly path: string;
  /** `LANDLOCK_ACCESS_FS_*` */
  readonly access: number;
}

/** The version of Landlock's interface that this host has; -errno where it has none. */
export function landlockAbi(): number {
  return tryCall('syscall', SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0, 0, 0);
}

/**
 * Makes a set of rules that forbids all that this host's Landlock knows of: every access to files that are not open yet, TCP, abstract UNIX
 * sockets and signals to others, but for what `rules` allow.
 * @returns its descriptor; undefined where there is no Landlock
 */
export function createRuleset(rules: readonly PathRule[]): number | undefined {
  const abi = landlockAbi();
  if (abi <= 0) return undefined;
  const fsBits = FS_BITS_BY_ABI[Math.min(abi, FS_BITS_BY_ABI.length - 1)]!;
  // struct landlock_ruleset_attr: u64 handled_access_fs, handled_access_net, scoped. The kernel takes shorter ones.
  const attributes = new NativeBuffer(24);
  const handled = 2 ** fsBits - 1;
  attributes.setNumber64(0, handled);
  if (abi >= NET_ABI) attributes.setNumber64(8, LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP);
  if (abi >= SCOPE_ABI) attributes.setNumber64(16, LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | signalScope());
  const size = abi >= SCOPE_ABI ? 24 : abi >= NET_ABI ? 16 : 8;
  const purpose = 'close the file system';
  const ruleset = call('syscall', purpose, SYS_landlock_create_ruleset, attributes.address, size, 0, 0, 0, 0);
  attributes.release();
  // What is not forbidden cannot be allowed either.
  for (const { path, access } of rules) addRule(ruleset, { path, access: access & handled });
  return ruleset;
}

function signalScope(): number {
  const errata = tryCall('syscall', SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_ERRATA, 0, 0, 0);
  return errata > 0 && (errata & ERRATUM_SIGNALS_AMONG_THREADS) !== 0 ? LANDLOCK_SCOPE_SIGNAL : 0;
}

function addRule(ruleset: number, { path, access }: PathRule): void {
  const directory = call('open', `look at ${path}`, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  // struct landlock_path_beneath_attr, packed: u64 allowed_access, s32 parent_fd.
  const attributes = new NativeBuffer(16);
  attributes.setNumber64(0, access);
  attributes.view.setInt32(8, directory, true);
  const { address } = attributes;
  const result = tryCall('syscall', SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, address, 0, 0, 0);
  attributes.release();
  tryCall('close', directory);
  if (result < 0) throw new SystemError('landlock_add_rule', -result, `leave ${path} open`);
}

/** The call by which a thread is bound to the rules, for good; it must have `no_new_privs`. */
export function landlockCall(ruleset: number): ThreadCall {
  return {
    name: 'landlock_restrict_self',
    purpose: 'close the file system',
    call: [SYS_landlock_restrict_self, ruleset, 0],
  };
}
