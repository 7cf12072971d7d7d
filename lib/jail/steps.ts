import { join } from 'node:path';
import { O_WRONLY } from '../ffi/constants.ts';
import { CallList, PROCESS_ID } from './call-list.ts';
import { CAPABILITIES_TO_START, capabilityData, capabilityHeader, LAST_CAPABILITY } from './capabilities.ts';
import { PROC, type RootPlan } from './root-plan.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  CLONE_NEWCGROUP,
  CLONE_NEWNET,
  CLONE_NEWPID,
  CLONE_PARENT,
  CLONE_PARENT_SETTID,
  CLONE_VFORK,
  CLONE_VM,
  F_SETFD,
  MNT_DETACH,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MS_BIND,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_PRIVATE,
  MS_REC,
  O_CLOEXEC,
  PR_CAPBSET_DROP,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  SIG_SETMASK,
  SIGCHLD,
  SIGKILL,
  SYS,
} from './syscalls.ts';

/** Descriptors of the new mvm, by what they are for. More that it is handed follow. */
const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
export const CHANNEL_FD = 3;
export const KEEPER_FD = 4;
export const HANDOVER_FD = 5;
export const FIRST_PASSED_FD = 6;

/** Descriptors of the process that makes the jail; it hands some on. */
export interface JailDescriptors {
  /** mvm's executable. */
  readonly program: number;
  /** The two ends of the stream between the keeper of the namespaces and the jailed mvm. */
  readonly keeper: number;
  readonly keeperPeer: number;
  /** The jailed end of the stream to the mvm that was started. */
  readonly channel: number;
  readonly handover: number;
  readonly netns: number | undefined;
  /** `cgroup.procs` of the cgroups that are to be joined. */
  readonly cgroups: readonly number[];
  /** What the configuration refers to by number: becomes 6, 7, … */
  readonly passed: readonly number[];
}

export interface JailSteps {
  readonly id: string;
  /** The new root directory's path on the host. */
  readonly root: string;
  readonly plan: RootPlan;
  /** The users of the namespace, where one is made: ours alone. */
  readonly userNamespace: { readonly uid: number; readonly gid: number } | undefined;
  /** Whose the socket becomes, where it is not whose mvm runs as from the start. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  readonly newPidNamespace: boolean;
  /** Those that mvm was started with, a bit each. */
  readonly capabilities: bigint;
  readonly argv: readonly string[];
  readonly fds: JailDescriptors;
}

/**
 * What the keeper of the namespaces does: a small process without JavaScript, which has the privileges that the jailed mvm is not to have.
 *
 * It makes the mounts, starts mvm, which still sees the host's files while it loads its libraries, and changes the root of both
 * when it is told to. It is told once more when all devices are open: it takes away what is not needed any more, and ends.
 */
export function keeperSteps(steps: JailSteps): CallList {
  const { id, root, plan, fds } = steps;
  const list = new CallList();
  list.add('prepare the jail', SYS.prctl, PR_SET_PDEATHSIG, SIGKILL);
  if (steps.userNamespace !== undefined) mapUser(list, steps.userNamespace);
  for (const fd of fds.cgroups) list.add('join the cgroup', SYS.write, fd, '0', 1);
  if (fds.netns !== undefined) list.add('enter the network namespace', SYS.setns, fds.netns, CLONE_NEWNET);
  list.add('name the jail', SYS.sethostname, id, Buffer.byteLength(id));
  list.add('separate the mounts', SYS.mount, 'none', '/', 0, MS_REC | MS_PRIVATE, 0);
  list.add('mount the root directory', SYS.mount, root, root, 0, MS_BIND, 0);
  restrict(list, 'protect the root directory', root, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  for (const { path, kind, readOnly } of plan.files) {
    const target = join(root, path);
    list.add(`mount ${path}`, SYS.mount, path, target, 0, MS_BIND, 0);
    const device = kind === 'device' ? 0 : MOUNT_ATTR_NODEV;
    const writing = readOnly ? MOUNT_ATTR_RDONLY : 0;
    restrict(list, `protect ${path}`, target, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | device | writing);
  }
  list.add('enter the root directory', SYS.chdir, root);
  const pid = steps.newPidNamespace ? CLONE_NEWPID : 0;
  // The namespace of cgroups begins where the new process is by then.
  const flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID | CLONE_NEWCGROUP | SIGCHLD | pid;
  list.fork('start mvm in the jail', SYS.clone, startSteps(steps), flags, 0, PROCESS_ID, 0, 0);
  list.add('leave mvm its end', SYS.close, fds.keeperPeer);

  const byte = new Uint8Array(1);
  list.waitFor(WAITS, SYS.read, fds.keeper, byte, 1);
  // With both the same the old root lies on top of the new one: pivot_root(2).
  list.add('change the root directory', SYS.pivot_root, '.', '.');
  list.add("leave the host's files", SYS.umount2, '.', MNT_DETACH);
  list.add('enter the new root directory', SYS.chdir, '/');
  list.add(WAITS, SYS.write, fds.keeper, byte, 1);

  list.waitFor(WAITS, SYS.read, fds.keeper, byte, 1);
  cleanUp(list, plan);
  if (plan.socketPath !== undefined && steps.owner !== undefined) {
    const { uid, gid } = steps.owner;
    list.add('give the socket away', SYS.fchownat, AT_FDCWD, plan.socketPath, uid, gid, 0);
  }
  list.add(WAITS, SYS.write, fds.keeper, byte, 1);
  return list;
}

/** The purpose of what fails in a container that hides parts of its /proc: to users there the kernel shows no new one. */
export const SHOWS_PROCESSES = 'show the new namespace of processes in /proc';
/** The purpose of what fails only where the other side is gone, which has said why. */
export const WAITS = 'wait for mvm in the jail';

/** A user namespace in which there is nobody but us, under our own number: user_namespaces(7). */
function mapUser(list: CallList, { uid, gid }: { uid: number; gid: number }): void {
  const files = [
    ['setgroups', 'deny'],
    ['uid_map', `${uid} ${uid} 1`],
    ['gid_map', `${gid} ${gid} 1`],
  ] as const;
  for (const [name, text] of files) {
    const purpose = 'set up the user namespace';
    const fd = list.add(purpose, SYS.openat, AT_FDCWD, `/proc/self/${name}`, O_WRONLY | O_CLOEXEC, 0);
    list.add(purpose, SYS.write, fd, text, text.length);
  }
}

/** `struct mount_attr`: attr_set, attr_clr, propagation, userns_fd. */
const MOUNT_ATTR_SIZE = 32;

/** Adds attributes to a mount; what it has already stays. */
function restrict(list: CallList, purpose: string, path: string, attributes: number): void {
  const attr = new Uint8Array(MOUNT_ATTR_SIZE);
  attr[0] = attributes;
  list.add(purpose, SYS.mount_setattr, AT_FDCWD, path, 0, attr, MOUNT_ATTR_SIZE);
}

/** Takes away all files, which are open now, and the directories for them: nothing is left but the socket's directory. */
function cleanUp(list: CallList, { files, directories, socketDirectory }: RootPlan): void {
  for (const { path, kind } of files) {
    list.add(`unmount ${path}`, SYS.umount2, path, MNT_DETACH);
    if (kind === 'directory') list.try(SYS.unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
    else list.add(`remove ${path} from the jail`, SYS.unlinkat, AT_FDCWD, path, 0);
  }
  list.try(SYS.umount2, PROC, MNT_DETACH);
  const stays = (directory: string): boolean =>
    socketDirectory !== undefined && (socketDirectory === directory || socketDirectory.startsWith(`${directory}/`));
  for (const directory of directories.toReversed()) {
    if (!stays(directory)) list.try(SYS.unlinkat, AT_FDCWD, directory, AT_REMOVEDIR);
  }
  if (socketDirectory === undefined) restrict(list, 'protect the root directory', '/', MOUNT_ATTR_RDONLY);
}

/** What the new process does before it becomes mvm: it gets the descriptors that it needs and no other, and few capabilities. */
function startSteps({ root, argv, fds, userNamespace, newPidNamespace, capabilities }: JailSteps): CallList {
  const list = new CallList();
  const purpose = 'start mvm in the jail';
  const proc = join(root, PROC);
  // Those of the new namespace of processes, which only a process in it can mount.
  if (newPidNamespace) {
    list.add(SHOWS_PROCESSES, SYS.mount, 'proc', proc, 'proc', MS_NOSUID | MS_NODEV | MS_NOEXEC, 'subset=pid');
  } else list.add(`mount ${PROC}`, SYS.mount, PROC, proc, 0, MS_BIND | MS_REC, 0);
  list.add(purpose, SYS.rt_sigprocmask, SIG_SETMASK, new Uint8Array(8), 0, 8);
  list.add(purpose, SYS.prctl, PR_SET_PDEATHSIG, SIGKILL);
  list.add(purpose, SYS.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // Root's capabilities after execve(2) are the inheritable ones and those of the bounding set: capabilities(7). Others have none then.
  if (userNamespace === undefined) {
    const sets = {
      effective: capabilities,
      permitted: capabilities,
      inheritable: capabilities & CAPABILITIES_TO_START,
    };
    list.add(purpose, SYS.capset, capabilityHeader(), capabilityData(sets));
  }
  // One that an older kernel does not know cannot be dropped, and need not be.
  for (let i = 0; i <= LAST_CAPABILITY; i++) list.try(SYS.prctl, PR_CAPBSET_DROP, i, 0, 0, 0);
  // Node keeps them from whoever it starts.
  for (const fd of [STDIN, STDOUT, STDERR]) list.try(SYS.fcntl, fd, F_SETFD, 0);
  const kept = [fds.channel, fds.keeperPeer, fds.handover, ...fds.passed];
  for (const [index, fd] of kept.entries()) list.add(purpose, SYS.dup3, fd, CHANNEL_FD + index, 0);
  const program = FIRST_PASSED_FD + fds.passed.length;
  list.add(purpose, SYS.dup3, fds.program, program, O_CLOEXEC);
  list.add(purpose, SYS.close_range, program + 1, 0xffff_ffff, 0);
  list.add(purpose, SYS.execveat, program, '', argv, [], AT_EMPTY_PATH);
  return list;
}
