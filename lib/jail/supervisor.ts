import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import type { VmConfig } from '../config/types.ts';
import { HostError } from '../errors.ts';
import { EPOLLIN } from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { unblockSignal } from '../ffi/unblock-signal.ts';
import { EventLoop, type Watch } from '../loop/event-loop.ts';
import type { FailedCall } from './call-list.ts';
import { ranOutOfMemory } from './cgroup-events.ts';
import { GO, READY, receiveByte, STOP, sendByte } from './channel.ts';
import { JobControl } from './job-control.ts';
import { Keeper } from './launch.ts';
import type { JailSettings } from './options.ts';
import { JailPlace } from './place.ts';
import { type Caller, type JailPlan, planJail } from './plan.ts';
import { PreparedJail, type PrepareOptions } from './prepare.ts';
import { keeperSteps, SHOWS_PROCESSES, WAITS } from './steps.ts';
import { openStreams } from './streams.ts';
import { SYS } from './syscalls.ts';

export interface SuperviseOptions extends PrepareOptions {
  /** Signals that are passed on to the mvm in the jail. */
  readonly signals: readonly NodeJS.Signals[];
  /** Called when the guest is about to run. */
  readonly onRunning: () => void;
}

/** How the mvm in the jail ended. */
export interface JailEnding {
  /** As a shell counts it: 128 + n for signal n. */
  readonly exitCode: number;
  /** Why, where it could not say so itself. */
  readonly message: string | undefined;
}

/**
 * Runs a virtual machine in a jail to its end, and removes what was made for it.
 * @throws HostError where the jail cannot be made
 */
export async function superviseJail(
  config: VmConfig,
  settings: JailSettings,
  options: SuperviseOptions,
): Promise<JailEnding> {
  const plan = planJail(settings, whoWeAre());
  for (const warning of plan.warnings) options.warn(warning);
  try {
    return await supervise(config, settings, plan, options);
  } catch (error) {
    if (!(error instanceof JailStepError) || error.purpose !== SHOWS_PROCESSES) throw error;
    options.warn(`without a PID namespace: ${error.message}; a container that hides parts of /proc refuses it`);
    return await supervise(config, { ...settings, newPidNamespace: false }, plan, options);
  }
}

function whoWeAre(): Caller {
  const read = (name: string) => readFileSync(`/proc/self/${name}`, 'latin1');
  return {
    uid: process.geteuid?.() ?? 0,
    gid: process.getegid?.() ?? 0,
    runtimeDirectory: process.env.XDG_RUNTIME_DIR,
    uidMap: read('uid_map'),
    gidMap: read('gid_map'),
    setgroups: read('setgroups'),
  };
}

/** A step of those that make the jail failed. */
class JailStepError extends HostError {
  readonly purpose: string;

  constructor({ purpose, errno }: FailedCall) {
    super(`cannot ${purpose} (${errnoName(errno)})`, { hint: '`mvm doctor` tells what a jail can have here' });
    this.purpose = purpose;
  }
}

async function supervise(
  config: VmConfig,
  settings: JailSettings,
  plan: JailPlan,
  options: SuperviseOptions,
): Promise<JailEnding> {
  const place = new JailPlace(config, settings, plan, options.warn);
  const jail = await prepare(place, config, settings, plan, options);
  const relay = (signal: NodeJS.Signals): void => {
    sendByte(jail.channel, constants.signals[signal]);
  };
  for (const signal of options.signals) {
    process.on(signal, relay);
    unblockSignal(constants.signals[signal]);
  }
  const loop = new EventLoop();
  let jobControl: JobControl | undefined;
  try {
    const keeper = new Keeper(keeperSteps(jail.steps), plan.isRootless);
    jail.handedOver();
    const watch = watchChannel(loop, jail.channel, {
      onReady: () => {
        writeSync(jail.pidFile, `${keeper.startedPid}`);
        jobControl = new JobControl(keeper.startedPid, settings.newPidNamespace);
        options.onRunning();
        sendByte(jail.channel, GO);
      },
      onStop: () => jobControl?.stop(),
    });
    await endOf(loop, keeper.pid);
    reap(keeper.pid);
    const { startedPid } = keeper;
    let ending: JailEnding | undefined;
    if (startedPid > 0) {
      await endOf(loop, startedPid);
      ending = endingOf(reap(startedPid), place);
    }
    watch.close();
    const failure = keeper.failures.find(({ purpose }) => purpose !== WAITS);
    if (failure !== undefined) throw new JailStepError(failure);
    if (ending === undefined) throw new HostError('the jail was given up before it was complete');
    return ending;
  } finally {
    for (const signal of options.signals) process.removeListener(signal, relay);
    jobControl?.close();
    loop.close();
    jail.close();
    place.remove();
  }
}

async function prepare(
  place: JailPlace,
  config: VmConfig,
  settings: JailSettings,
  plan: JailPlan,
  options: PrepareOptions,
): Promise<PreparedJail> {
  try {
    const streams = await openStreams(config, settings.netns);
    return new PreparedJail(place, config, settings, plan, streams, options);
  } catch (error) {
    place.giveUp();
    throw error;
  }
}

interface ChannelEvents {
  onReady(): void;
  onStop(): void;
}

/** Whatever a mvm says that a guest has broken into: it is ready once, and it can have itself stopped. */
function watchChannel(loop: EventLoop, channel: number, events: ChannelEvents): Watch {
  let isReady = false;
  const watch = loop.watch(channel, EPOLLIN, () => {
    const byte = receiveByte(channel);
    if (byte === undefined) watch.close();
    else if (byte === READY && !isReady) {
      isReady = true;
      events.onReady();
    } else if (byte === STOP) events.onStop();
  });
  return watch;
}

/** Waits until a process has ended. */
async function endOf(loop: EventLoop, pid: number): Promise<void> {
  const fd = call('syscall', 'watch the jail', SYS.pidfd_open, pid, 0, 0, 0, 0, 0);
  const watch = loop.watch(fd, EPOLLIN, () => loop.stop());
  await loop.run();
  watch.close();
  tryCall('close', fd);
}

/** Takes the exit status of a process that has ended: wait(2). */
function reap(pid: number): number {
  const status = new NativeBuffer(8);
  call('syscall', 'wait for the jail', SYS.wait4, pid, status.address, 0, 0, 0, 0);
  const value = status.view.getInt32(0, true);
  status.release();
  return value;
}

function endingOf(status: number, { joined }: JailPlace): JailEnding {
  const signal = status & 0x7f;
  if (signal === 0) return { exitCode: (status >> 8) & 0xff, message: undefined };
  const name = Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `signal ${signal}`;
  const cause = ranOutOfMemory(joined.map(({ cgroup }) => cgroup)) ? ': it reached the memory limit of its cgroup' : '';
  return { exitCode: 128 + signal, message: `the virtual machine was killed by ${name}${cause}` };
}

/** Gives up standard input, output or error for /dev/null. */
export function redirectToNull(...fds: readonly number[]): void {
  const nothing = openSync('/dev/null', 'r+');
  for (const fd of fds) call('syscall', 'redirect a stream', SYS.dup3, nothing, fd, 0, 0, 0, 0);
  closeSync(nothing);
}
