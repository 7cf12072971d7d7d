/** System calls and constants of namespaces, mounts and processes, by the names of Linux's headers. */

export { O_CLOEXEC, PR_CAPBSET_DROP, PR_SET_NAME, PR_SET_NO_NEW_PRIVS, SIG_SETMASK } from '../ffi/constants.ts';

/** x86-64's numbers (arch/x86/entry/syscalls/syscall_64.tbl). */
export const SYS = {
  read: 0,
  write: 1,
  close: 3,
  rt_sigprocmask: 14,
  clone: 56,
  wait4: 61,
  kill: 62,
  fcntl: 72,
  chdir: 80,
  capset: 126,
  pivot_root: 155,
  prctl: 157,
  mount: 165,
  umount2: 166,
  sethostname: 170,
  waitid: 247,
  openat: 257,
  fchownat: 260,
  unlinkat: 263,
  dup3: 292,
  setns: 308,
  memfd_create: 319,
  execveat: 322,
  pidfd_open: 434,
  close_range: 436,
  mount_setattr: 442,
} as const;

export const F_SETFD = 2;
export const AT_FDCWD = -100;
export const AT_REMOVEDIR = 0x200;
export const AT_EMPTY_PATH = 0x1000;

/** <linux/sched.h>. */
export const CLONE_VM = 0x100;
export const CLONE_VFORK = 0x4000;
export const CLONE_PARENT = 0x8000;
export const CLONE_NEWNS = 0x2_0000;
export const CLONE_PARENT_SETTID = 0x10_0000;
export const CLONE_NEWCGROUP = 0x200_0000;
export const CLONE_NEWUTS = 0x400_0000;
export const CLONE_NEWIPC = 0x800_0000;
export const CLONE_NEWUSER = 0x1000_0000;
export const CLONE_NEWPID = 0x2000_0000;
export const CLONE_NEWNET = 0x4000_0000;

/** <linux/mount.h>. */
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MS_BIND = 0x1000;
export const MS_REC = 0x4000;
export const MS_PRIVATE = 0x4_0000;
export const MNT_DETACH = 2;
export const MOUNT_ATTR_RDONLY = 1;
export const MOUNT_ATTR_NOSUID = 2;
export const MOUNT_ATTR_NODEV = 4;
export const MOUNT_ATTR_NOEXEC = 8;

/** <linux/prctl.h>. */
export const PR_SET_PDEATHSIG = 1;

export const SIGKILL = 9;
export const SIGTERM = 15;
export const SIGCHLD = 17;
