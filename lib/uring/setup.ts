import { HostError } from '../errors.ts';
import {
  EFAULT,
  EINVAL,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
  SYS_io_uring_setup,
} from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import {
  IORING_FEAT_NODROP,
  IORING_FEAT_SINGLE_MMAP,
  IORING_FEAT_SUBMIT_STABLE,
  IORING_OFF_SQ_RING,
  IORING_OFF_SQES,
  IORING_SETUP_NO_MMAP,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SUBMIT_ALL,
  io_uring_cqe,
  io_uring_params,
  io_uring_sqe,
} from './layout.ts';

const PAGE_SIZE = 4096;
/** Requests that one ring has room for: four drives of 256. The kernel makes its completion ring twice as large. */
const FULL_SIZE = 1024;
/** What fits if each part is to be one page. */
const ONE_PAGE_SIZE = 64;
const NEEDED_FEATURES = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE;

/** A new io_uring, in memory that JavaScript sees. */
export interface UringMemory {
  readonly fd: number;
  readonly params: ReturnType<typeof io_uring_params.decode>;
  /** Both rings. */
  readonly rings: NativeBuffer;
  readonly sqes: NativeBuffer;
  /** Gives the memory back, once `fd` is closed. */
  release(): void;
}

/**
 * Makes an io_uring whose rings lie in SharedArrayBuffers. How depends on the kernel:
 *
 * - From Linux 6.10 on the rings may lie in any memory that user space has (IORING_SETUP_NO_MMAP).
 * - Before 6.4 they can be mapped where user space wants them (MAP_FIXED); from 6.4 on the kernel chooses (io_uring_get_unmapped_area).
 * - From 6.5 to 6.9 memory of user space must be contiguous, so that each part has to do with a page.
 *
 * @throws SystemError where the kernel does not have it, or a policy forbids it (ENOSYS, EPERM, EACCES)
 * It is disabled until it has been restricted.
 *
 * @throws HostError where the kernel's is of no use here: older than Linux 5.10, or of 6.4
 */
export function setUpUring(): UringMemory {
  const memory = inOwnMemory(FULL_SIZE) ?? mapped() ?? inOwnMemory(ONE_PAGE_SIZE);
  if (memory === undefined) throw new HostError("this kernel's io_uring cannot be used; Linux 6.10 is the best");
  const { features, cq_off } = memory.params;
  if ((features & NEEDED_FEATURES) !== NEEDED_FEATURES || cq_off.flags === 0) {
    tryCall('close', memory.fd);
    memory.release();
    throw new HostError("this kernel's io_uring is too old");
  }
  return memory;
}

/** Lets the kernel use memory of ours. @returns undefined where it will not */
function inOwnMemory(entries: number): UringMemory | undefined {
  // The kernel counts what it needs; twice as many completions as submissions, and a header of a few words.
  const rings = pages(PAGE_SIZE / 2 + entries * (2 * io_uring_cqe.size + 4));
  const sqes = pages(entries * io_uring_sqe.size);
  const buffer = new NativeBuffer(io_uring_params.size);
  const fd = setUp(buffer, entries, IORING_SETUP_NO_MMAP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER, () => {
    buffer.setNumber64(io_uring_params.offset['sq_off.user_addr'], sqes.address);
    buffer.setNumber64(io_uring_params.offset['cq_off.user_addr'], rings.address);
  });
  if (fd === undefined) return undefined;
  return { fd, params: io_uring_params.read(buffer.view, 0), rings, sqes, release: () => {} };
}

/** Maps the kernel's memory over ours. @returns undefined where the kernel wants to choose the place */
function mapped(): UringMemory | undefined {
  const buffer = new NativeBuffer(io_uring_params.size);
  const fd =
    setUp(buffer, FULL_SIZE, IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER) ?? setUp(buffer, FULL_SIZE, 0);
  if (fd === undefined) return undefined;
  const params = io_uring_params.read(buffer.view, 0);
  const { sq_off, cq_off, sq_entries, cq_entries } = params;
  const rings = pages(Math.max(sq_off.array + 4 * sq_entries, cq_off.cqes + io_uring_cqe.size * cq_entries));
  const sqes = pages(io_uring_sqe.size * sq_entries);
  const release = (): void => {
    for (const memory of [rings, sqes]) mapAnonymous(memory);
  };
  if (map(rings, fd, IORING_OFF_SQ_RING) && map(sqes, fd, IORING_OFF_SQES)) return { fd, params, rings, sqes, release };
  tryCall('close', fd);
  release();
  return undefined;
}

/**
 * `io_uring_setup`.
 * @param complete writes what must stand in `params` besides flags
 * @returns the descriptor, or undefined where the kernel does not know the flags, or cannot use the memory
 */
function setUp(params: NativeBuffer, entries: number, flags: number, complete?: () => void): number | undefined {
  params.bytes.fill(0);
  params.view.setUint32(io_uring_params.offset.flags, flags | IORING_SETUP_R_DISABLED, true);
  complete?.();
  const fd = tryCall('syscall', SYS_io_uring_setup, entries, params.address, 0, 0, 0, 0);
  if (fd >= 0) return fd;
  if (fd === -EINVAL || fd === -EFAULT) return undefined;
  throw new SystemError('io_uring_setup', -fd, 'use io_uring');
}

function pages(size: number): NativeBuffer {
  return new NativeBuffer(Math.ceil(size / PAGE_SIZE) * PAGE_SIZE, PAGE_SIZE);
}

function map({ address, size }: NativeBuffer, fd: number, offset: number): boolean {
  const flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
  return tryCall('mmap', address, size, PROT_READ | PROT_WRITE, flags, fd, offset) === address;
}

/** Memory as it was before, for whoever gets it next from the allocator. */
function mapAnonymous({ address, size }: NativeBuffer): void {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  call('mmap', "give back io_uring's memory", address, size, PROT_READ | PROT_WRITE, flags, -1, 0);
}
