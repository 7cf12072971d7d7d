import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { getHeapStatistics } from 'node:v8';
import type { VmConfig } from '../config/types.ts';
import type { TerminalState } from '../console/termios.ts';
import { HostError } from '../errors.ts';
import { SYS_close, SYS_exit_group } from '../ffi/constants.ts';
import { tryCall } from '../ffi/libc.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import type { Profiles } from '../seccomp/profile.ts';
import { KICK_SIGNAL } from '../vcpu/kick-signal.ts';
import type { VcpuThread } from '../vcpu/thread.ts';
import { closeDescriptors, type FirstDescriptors } from './descriptors.ts';
import { clearEnvironment } from './environment.ts';
import { featuresOf } from './features.ts';
import { filterCall } from './filters.ts';
import {
  createRuleset,
  LANDLOCK_ACCESS_FS_REMOVE_FILE,
  LANDLOCK_ACCESS_FS_RESOLVE_UNIX,
  landlockCall,
  type PathRule,
} from './landlock.ts';
import { closeNodesRings } from './libuv-ring.ts';
import { NodeThreads, threadIds } from './node-threads.ts';
import { privilegeCalls, UNDUMPABLE } from './privileges.ts';
import { applyResourceLimits, type ResourceLimits } from './resource-limits.ts';
import { nameCall, type ThreadCall } from './thread-calls.ts';
import { startConfined } from './vcpu-threads.ts';
import { installViolationHandler } from './violation.ts';

const PAGE_SIZE = 4096;
/** What may be mapped beyond what is, and beyond what V8's heap may grow to: buffers of devices and connections. */
const SPARE_ADDRESS_SPACE = 2 ** 30;

export interface Confinement {
  /** What each kind of thread may do; undefined: system calls are not filtered. */
  readonly profiles: Profiles | undefined;
  readonly limits: ResourceLimits;
  readonly descriptors: FirstDescriptors;
}

/** What is confined. */
export interface LockDownSubject {
  readonly config: VmConfig;
  readonly loop: EventLoop;
  /** Not started yet. */
  readonly threads: readonly VcpuThread[];
  readonly terminal: TerminalState | undefined;
}

/**
 * Gives up all that a running machine does not need, for good, on every thread, and starts the vCPUs' threads. To be called when everything is
 * open and made, and before the guest's first instruction. ARCHITECTURE.md has the order, and why.
 *
 * From then on this process ends by `exit_group` alone, after the handlers of `exit`: what Node does in its end is not allowed.
 *
 * @throws HostError where something cannot be given up: the guest must not run then
 */
export function lockDown(
  { config, loop, threads, terminal }: LockDownSubject,
  { profiles, limits, descriptors }: Confinement,
): void {
  endByExitGroup();
  applyResourceLimits(limits, addressSpace());
  closeDescriptors(descriptors.inherited);
  clearEnvironment();
  if (profiles !== undefined && !closeNodesRings(descriptors.rings)) {
    throw new HostError('cannot confine mvm: the libuv in it is not the one that it was made for');
  }

  const features = featuresOf(config, terminal !== undefined);
  const filter = (kind: keyof Profiles, values: Readonly<Record<string, number>>): ThreadCall[] =>
    profiles === undefined ? [] : [filterCall(profiles[kind], values, features)];
  const ruleset = createRuleset(rulesOf(config));
  const common = [...privilegeCalls(), ...(ruleset === undefined ? [] : [landlockCall(ruleset)])];

  // All that need not wait for them is done while they start.
  const started = threads.map((thread) => startConfined(thread, [...common, ...filter('vcpu', thread.filterValues)]));
  installViolationHandler(loop.arena, { format: config.logger.format, vcpus: threads, terminal });
  const { pid } = process;
  const values = {
    pid,
    kick_signal: KICK_SIGNAL,
    terminal_fd: terminal?.fd ?? 0,
    termios_address: terminal?.address ?? 0,
  };
  const runtime = [...common, ...filter('runtime', values)];
  const main = filter('main', values);
  const node = new NodeThreads(loop.arena);
  const vcpus = started.map((wait) => wait());
  node.confineAll(runtime, new Set([...vcpus, pid]));
  checkThreads(pid, profiles !== undefined);
  const close: ThreadCall[] =
    ruleset === undefined ? [] : [{ name: 'close', purpose: 'close the rules', call: [SYS_close, ruleset] }];
  node.confine(pid, [UNDUMPABLE, nameCall('mvm'), ...common, ...close, ...main]);
}

/** `process.exit` calls `reallyExit` when all handlers have run; Node's own ends V8's threads and frees their memory first. */
function endByExitGroup(): void {
  (process as unknown as { reallyExit: (code: number) => void }).reallyExit = (code) => {
    tryCall('syscall', SYS_exit_group, code, 0, 0, 0, 0, 0);
  };
}

/** Bytes of address space that are enough from now on. */
function addressSpace(): number {
  const pages = Number(readFileSync('/proc/self/statm', 'latin1').split(' ', 1)[0]);
  return pages * PAGE_SIZE + getHeapStatistics().heap_size_limit + SPARE_ADDRESS_SPACE;
}

/** All files are open. What is left to do is to connect to the sockets beside that of vsock, and to remove it at the end. */
function rulesOf({ vsock }: VmConfig): PathRule[] {
  const access = LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_RESOLVE_UNIX;
  return vsock === undefined ? [] : [{ path: dirname(vsock.udsPath), access }];
}

/**
 * Asks the kernel whether all threads but the JavaScript thread, which comes last, are confined.
 * @throws HostError where one is not
 */
function checkThreads(pid: number, filtered: boolean): void {
  for (const id of threadIds()) {
    if (id === pid) continue;
    const status = readFileSync(`/proc/self/task/${id}/status`, 'latin1');
    const has = (line: string) => status.includes(`\n${line}\n`);
    const isConfined = has('NoNewPrivs:\t1') && has('CapEff:\t0000000000000000') && (!filtered || has('Seccomp:\t2'));
    if (!isConfined) throw new HostError(`thread ${id} of mvm is not confined`);
  }
}
