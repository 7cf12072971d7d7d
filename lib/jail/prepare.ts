import { closeSync, openSync, readFileSync } from 'node:fs';
import type { VmConfig } from '../config/types.ts';
import type { ResourceLimits } from '../confine/resource-limits.ts';
import { bindingAsset } from '../ffi/binding.ts';
import type { Profiles } from '../seccomp/profile.ts';
import { permittedCapabilities } from './capabilities.ts';
import { memoryFile, moveUp, streamPair } from './descriptors.ts';
import { writeHandover } from './handover.ts';
import type { JailSettings } from './options.ts';
import type { JailPlace } from './place.ts';
import type { JailPlan } from './plan.ts';
import { makeRoot } from './root.ts';
import { FIRST_PASSED_FD, type JailDescriptors, type JailSteps } from './steps.ts';
import { type Stream, withStreams } from './streams.ts';

export interface PrepareOptions {
  /** How mvm is started once more; the first is its name. */
  readonly argv: readonly string[];
  readonly profiles: Profiles | undefined;
  readonly limits: ResourceLimits;
  readonly debug: boolean;
  /** Takes one line. */
  readonly warn: (message: string) => void;
}

/** What the processes in the jail are made from, and our ends of what leads to them. */
export class PreparedJail {
  readonly steps: JailSteps;
  /** Our end of the stream to mvm in the jail. */
  readonly channel: number;
  /** For the process id of mvm in the jail. */
  readonly pidFile: number;

  /** @param streams of user-mode networks */
  constructor(
    place: JailPlace,
    config: VmConfig,
    settings: JailSettings,
    plan: JailPlan,
    streams: readonly Stream[],
    { argv, profiles, limits, debug }: PrepareOptions,
  ) {
    const { directory, rootPlan, netns, joined } = place;
    const identity = plan.isRootless ? undefined : plan.identity;
    this.pidFile = makeRoot(directory.root, rootPlan, identity);
    const asset = bindingAsset();
    const binding = asset === undefined ? [] : [memoryFile(asset)];
    const bindingFd = asset === undefined ? undefined : FIRST_PASSED_FD;
    const [keeper, keeperPeer] = streamPair();
    const [channel, channelPeer] = streamPair();
    this.channel = channel;
    const fds: JailDescriptors = {
      program: moveUp(openSync('/proc/self/exe', 'r')),
      keeper,
      keeperPeer,
      channel: channelPeer,
      handover: writeHandover({
        config: withStreams(config, streams, FIRST_PASSED_FD + binding.length),
        profiles,
        limits,
        identity,
        daemonize: settings.daemonize,
        debug,
        bindingFd,
      }),
      netns,
      cgroups: joined.map(({ fd }) => fd),
      passed: [...binding, ...streams.map(({ fd }) => fd)],
    };
    this.steps = {
      id: config.id,
      root: directory.root,
      plan: rootPlan,
      userNamespace: plan.isRootless ? plan.identity : undefined,
      owner: identity,
      newPidNamespace: settings.newPidNamespace,
      capabilities: permittedCapabilities(readFileSync('/proc/self/status', 'utf8')),
      argv,
      fds,
    };
  }

  /** Closes what the processes in the jail have got: when they end, we see it. */
  handedOver(): void {
    const { program, keeper, keeperPeer, channel, handover, netns, cgroups, passed } = this.steps.fds;
    const all = [program, keeper, keeperPeer, channel, handover, ...cgroups, ...passed];
    for (const fd of netns === undefined ? all : [...all, netns]) closeSync(fd);
  }

  close(): void {
    closeSync(this.channel);
    closeSync(this.pidFile);
  }
}
