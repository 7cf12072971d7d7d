/** Constants of Linux's x86-64 ABI, by the names of its headers (<asm-generic/*>, <linux/*>, <bits/*>). */
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MAP_HUGETLB = 0x4_0000;
export const MAP_HUGE_2MB = 21 << 26;
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
export const EPOLLET = 0x8000_0000;

export const FUTEX_WAKE_PRIVATE = 129;

export const EINTR = 4;
export const EAGAIN = 11;
export const EPERM = 1;
export const EEXIST = 17;

/** System call numbers, for the calls that are made without libc. */
export const SYS_read = 0;
export const SYS_write = 1;
export const SYS_ioctl = 16;
export const SYS_futex = 202;
export const SYS_epoll_wait = 232;
