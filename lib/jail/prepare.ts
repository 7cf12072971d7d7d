import { closeSync, openSync, readFileSync } from 'node:fs';
import type { VmConfig } from '../config/types.ts';
import type { ResourceLimits } from '../confine/resource-limits.ts';
import { bindingAsset } from '../ffi/binding.ts';
import type { Profiles } from '../seccomp/profile.ts';
import { permittedCapabilities } from './capabilities.ts';
import { CgroupPermissionError, checkUnused, makeCgroup, missingParents, openProcesses } from './cgroup.ts';
import { chooseCgroups, findOwnCgroup } from './cgroup-choice.ts';
import type { PlannedCgroup } from './cgroup-plan.ts';
import { memoryFile, moveUp, streamPair } from './descriptors.ts';
import { JailDirectory } from './directory.ts';
import { writeHandover } from './handover.ts';
import { openNetNamespace } from './netns.ts';
import type { JailSettings } from './options.ts';
import type { OwnCgroup } from './own-cgroup.ts';
import type { JailPlan } from './plan.ts';
import { kindOnHost, makeRoot } from './root.ts';
import { planRoot } from './root-plan.ts';
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

/** Everything on the host that a jail needs before there are namespaces, and what takes it away again. */
export class PreparedJail {
  readonly directory: JailDirectory;
  readonly steps: JailSteps;
  readonly cgroups: readonly PlannedCgroup[];
  /** Our end of the stream to mvm in the jail. */
  readonly channel: number;
  /** For the process id of mvm in the jail. */
  readonly pidFile: number;
  /** Where an ordinary user has its limits. */
  readonly #ownCgroup: OwnCgroup | undefined;

  /** @throws HostError where something cannot be had; nothing is left behind then */
  constructor(
    config: VmConfig,
    settings: JailSettings,
    plan: JailPlan,
    streams: readonly Stream[],
    options: PrepareOptions,
  ) {
    const { argv, profiles, limits, debug, warn } = options;
    // First what only looks: most of what is wrong shows before anything is made.
    const netns = settings.netns === undefined ? undefined : moveUp(openNetNamespace(settings.netns));
    const planned = chooseCgroups(settings, config.id, plan.isRootless);
    const root = planRoot(config, kindOnHost);
    if (plan.isRootless && planned.length > 0) this.#ownCgroup = findOwnCgroup(config.id);
    this.directory = JailDirectory.claim(plan.baseDirectory, config.id);
    try {
      for (const cgroup of planned) checkUnused(cgroup);
      this.directory.note({
        cgroups: planned.filter(({ isOwn }) => isOwn).map(({ mountPoint, path }) => ({ mountPoint, path })),
        parents: [
          ...new Set(planned.filter(({ isOwn }) => isOwn).flatMap(missingParents)),
          ...(this.#ownCgroup === undefined ? [] : [this.#ownCgroup.below]),
        ],
      });
      const joined = makeCgroups(planned, this.#ownCgroup, plan.isRootless ? warn : undefined);
      this.cgroups = joined.map(({ cgroup }) => cgroup);
      const identity = plan.isRootless ? undefined : plan.identity;
      this.pidFile = makeRoot(this.directory.root, root, identity);
      const asset = bindingAsset();
      const binding = asset === undefined ? [] : [memoryFile(asset)];
      const bindingFd = asset === undefined ? undefined : FIRST_PASSED_FD;
      const passed = [...binding, ...streams.map(({ fd }) => fd)];
      const jailed = withStreams(config, streams, FIRST_PASSED_FD + binding.length);
      const [keeper, keeperPeer] = streamPair();
      const [channel, channelPeer] = streamPair();
      this.channel = channel;
      const fds: JailDescriptors = {
        program: moveUp(openSync('/proc/self/exe', 'r')),
        keeper,
        keeperPeer,
        channel: channelPeer,
        handover: writeHandover({
          config: jailed,
          profiles,
          limits,
          identity,
          daemonize: settings.daemonize,
          debug,
          bindingFd,
        }),
        netns,
        cgroups: joined.map(({ fd }) => fd),
        passed,
      };
      this.steps = {
        id: config.id,
        root: this.directory.root,
        plan: root,
        userNamespace: plan.isRootless ? plan.identity : undefined,
        owner: identity,
        newPidNamespace: settings.newPidNamespace,
        capabilities: permittedCapabilities(readFileSync('/proc/self/status', 'utf8')),
        argv,
        fds,
      };
    } catch (error) {
      this.directory.giveUp();
      comeBackIfPossible(this.#ownCgroup);
      throw error;
    }
  }

  /** Closes what the processes in the jail have got: when they end, we see it. */
  handedOver(): void {
    const { program, keeper, keeperPeer, channel, handover, netns, cgroups, passed } = this.steps.fds;
    const all = [program, keeper, keeperPeer, channel, handover, ...cgroups, ...passed];
    for (const fd of netns === undefined ? all : [...all, netns]) closeSync(fd);
  }

  /** Removes everything from the host. */
  remove(): void {
    closeSync(this.channel);
    closeSync(this.pidFile);
    this.directory.remove();
    this.#ownCgroup?.comeBack();
  }
}

/** After an error that matters more. */
function comeBackIfPossible(own: OwnCgroup | undefined): void {
  try {
    own?.comeBack();
  } catch {}
}

/**
 * Makes the cgroups.
 * @param warn takes the place of an error where an ordinary user has no permission to
 */
function makeCgroups(
  planned: readonly PlannedCgroup[],
  own: OwnCgroup | undefined,
  warn: ((message: string) => void) | undefined,
): { cgroup: PlannedCgroup; fd: number }[] {
  return planned.flatMap((cgroup) => {
    try {
      makeCgroup(cgroup, own);
      return [{ cgroup, fd: moveUp(openProcesses(cgroup)) }];
    } catch (error) {
      if (warn === undefined || !(error instanceof CgroupPermissionError)) throw error;
      warn(`without limits: ${error.toLine()}`);
      return [];
    }
  });
}
