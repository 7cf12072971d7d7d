/** Constants of Linux's x86-64 ABI, by the names of its headers (<asm-generic/*>, <linux/*>, <bits/*>). */
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
export const O_DIRECTORY = 0o200000;

export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MAP_POPULATE = 0x8000;
export const MAP_HUGETLB = 0x4_0000;
export const MAP_HUGE_2MB = 21 << 26;
export const MADV_DONTNEED = 4;
export const MADV_HUGEPAGE = 14;
export const MADV_NOHUGEPAGE = 15;
export const MADV_DONTDUMP = 16;

export const EFD_CLOEXEC = O_CLOEXEC;
export const EFD_NONBLOCK = O_NONBLOCK;
export const EPOLL_CLOEXEC = O_CLOEXEC;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 0x001;
export const EPOLLPRI = 0x002;
export const EPOLLOUT = 0x004;
export const EPOLLERR = 0x008;
export const EPOLLHUP = 0x010;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 0x8000_0000;

export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_NONBLOCK = O_NONBLOCK;
export const SOCK_CLOEXEC = O_CLOEXEC;
export const MSG_PEEK = 0x02;
export const SHUT_RD = 0;
export const SHUT_WR = 1;

/** memfd_create(2). */
export const MFD_CLOEXEC = 1;

/** rt_sigprocmask(2), and `sizeof(sigset_t)` of the kernel. */
export const SIG_SETMASK = 2;
export const SIGSET_SIZE = 8;

/** prctl(2). */
export const PR_SET_DUMPABLE = 4;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;
export const PR_SET_NAME = 15;
export const PR_CAPBSET_READ = 23;
export const PR_CAPBSET_DROP = 24;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_CAP_AMBIENT = 47;

/** capset(2). */
export const LINUX_CAPABILITY_VERSION_3 = 0x2008_0522;

/** getrandom(2). */
export const GRND_NONBLOCK = 1;

export const FUTEX_WAKE_PRIVATE = 129;

export const CLOCK_MONOTONIC = 1;
export const TFD_CLOEXEC = O_CLOEXEC;
export const TFD_NONBLOCK = O_NONBLOCK;

/** Open file description locks, fcntl(2). */
export const F_OFD_SETLK = 37;
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;

export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_ZERO_RANGE = 0x10;

export const ESRCH = 3;
export const EINTR = 4;
export const EAGAIN = 11;
export const EPERM = 1;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const EINVAL = 22;
export const EPIPE = 32;
export const ENOSYS = 38;
/** Of a tap: its network device is gone. */
export const EBADFD = 77;
export const EOPNOTSUPP = 95;
export const EADDRINUSE = 98;

/** System call numbers, for the calls that are made without libc. */
export const SYS_read = 0;
export const SYS_write = 1;
export const SYS_close = 3;
export const SYS_rt_sigaction = 13;
export const SYS_rt_sigprocmask = 14;
export const SYS_ioctl = 16;
export const SYS_pread64 = 17;
export const SYS_pwrite64 = 18;
export const SYS_readv = 19;
export const SYS_writev = 20;
export const SYS_sched_yield = 24;
export const SYS_madvise = 28;
export const SYS_socket = 41;
export const SYS_connect = 42;
export const SYS_recvfrom = 45;
export const SYS_shutdown = 48;
export const SYS_bind = 49;
export const SYS_listen = 50;
export const SYS_socketpair = 53;
export const SYS_flock = 73;
export const SYS_fdatasync = 75;
export const SYS_getpgid = 121;
export const SYS_capset = 126;
export const SYS_prctl = 157;
export const SYS_futex = 202;
export const SYS_exit_group = 231;
export const SYS_epoll_wait = 232;
export const SYS_tgkill = 234;
export const SYS_fallocate = 285;
export const SYS_timerfd_settime = 286;
export const SYS_accept4 = 288;
export const SYS_preadv = 295;
export const SYS_pwritev = 296;
export const SYS_prlimit64 = 302;
export const SYS_seccomp = 317;
export const SYS_getrandom = 318;
export const SYS_memfd_create = 319;
export const SYS_io_uring_setup = 425;
export const SYS_io_uring_enter = 426;
export const SYS_io_uring_register = 427;
export const SYS_landlock_create_ruleset = 444;
export const SYS_landlock_add_rule = 445;
export const SYS_landlock_restrict_self = 446;
