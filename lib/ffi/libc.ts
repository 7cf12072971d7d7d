import { BUFFER, DataType, loadBinding, type NativeBinding, type ParameterType, type PreparedCall } from './binding.ts';
import { SystemError } from './errors.ts';

const { I32, I64, String: Text, Void } = DataType;

/**
 * Every libc function that mvm calls: its result type, then its parameter types. Pointers and sizes are I64.
 * libuv's two live in the node binary and export C symbols as well.
 */
const declarations = {
  clearenv: [I32],
  close: [I32, I32],
  dlsym: [I64, I64, Text],
  dup: [I32, I32],
  epoll_create1: [I32, I32],
  epoll_ctl: [I32, I32, I32, I32, I64],
  eventfd: [I32, I32, I32],
  fcntl: [I32, I32, I32, I64],
  ftruncate: [I32, I32, I64],
  getpid: [I32],
  ioctl: [I32, I32, I64, I64],
  isatty: [I32, I32],
  madvise: [I32, I64, I64, I32],
  memcpy: [I64, I64, I64, I64],
  memmove: [I64, BUFFER, BUFFER, I64],
  memset: [I64, I64, I32, I64],
  mmap: [I64, I64, I64, I32, I32, I32, I64],
  mprotect: [I32, I64, I64, I32],
  munmap: [I32, I64, I64],
  open: [I32, Text, I32, I32],
  pipe2: [I32, I64, I32],
  poll: [I32, I64, I64, I32],
  pthread_attr_init: [I32, I64],
  pthread_attr_setstacksize: [I32, I64, I64],
  pthread_create: [I32, I64, I64, I64, I64],
  pthread_join: [I32, I64, I64],
  read: [I64, I32, I64, I64],
  setenv: [I32, Text, Text, I32],
  setgroups: [I32, I64, I64],
  setresgid: [I32, I32, I32, I32],
  setresuid: [I32, I32, I32, I32],
  sigaction: [I32, I32, I64, I64],
  syscall: [I64, I64, I64, I64, I64, I64, I64, I64],
  tcgetattr: [I32, I32, I64],
  tcsetattr: [I32, I32, I32, I64],
  tcgetpgrp: [I32, I32],
  timerfd_create: [I32, I32, I32],
  twalk: [Void, I64, I64],
  uv_backend_fd: [I32, I64],
  uv_backend_timeout: [I32, I64],
  uv_default_loop: [I64],
  uv_update_time: [Void, I64],
  write: [I64, I32, I64, I64],
} as const satisfies Record<string, readonly ParameterType[]>;

/** A libc function that mvm has declared. */
export type LibcFunction = keyof typeof declarations;

type Argument = number | string | Uint8Array;

const LIBRARY = 'self';
let binding: NativeBinding | undefined;
const prepared = new Map<LibcFunction, PreparedCall>();

function loaded(): NativeBinding {
  if (binding === undefined) {
    binding = loadBinding();
    // An empty path opens the node binary itself, through which every symbol of libc and libuv is reachable.
    binding.open({ library: LIBRARY, path: '' });
  }
  return binding;
}

function describe(name: LibcFunction, paramsValue: Argument[], errno: boolean): PreparedCall {
  const [retType, ...paramsType] = declarations[name] as readonly [ParameterType, ...ParameterType[]];
  return { library: LIBRARY, funcName: name, retType, paramsType, paramsValue, errno, freeResultMemory: false };
}

function prepare(name: LibcFunction): PreparedCall {
  const call = describe(name, [], declarations[name][0] !== Void);
  prepared.set(name, call);
  return call;
}

/**
 * Calls a libc function and gives back what it returned, or the negated errno where it returned -1.
 *
 * For calls whose failure is an answer (EAGAIN, EINTR, ENOTTY). Functions that return their error instead of setting errno
 * (pthread_*) come back as they are.
 */
export function tryCall(name: LibcFunction, ...args: Argument[]): number {
  const call = prepared.get(name) ?? prepare(name);
  call.paramsValue = args;
  const result = loaded().load(call) as { value: number; errnoCode: number } | undefined;
  if (result === undefined) return 0;
  return result.value === -1 ? -result.errnoCode : result.value;
}

/**
 * Calls a libc function whose failure is an error.
 * @param purpose what it is for, as in «cannot …»
 * @throws SystemError naming the call, its errno and the purpose
 */
export function call(name: LibcFunction, purpose: string, ...args: Argument[]): number {
  const result = tryCall(name, ...args);
  if (result < 0) throw new SystemError(name, -result, purpose);
  return result;
}

/**
 * Calls one of the pthread functions, which return their error number.
 * @throws SystemError naming the call, its errno and the purpose
 */
export function callPthread(name: LibcFunction & `pthread_${string}`, purpose: string, ...args: number[]): void {
  const error = tryCall(name, ...args);
  if (error !== 0) throw new SystemError(name, Math.abs(error), purpose);
}

/**
 * A libc function bound to its arguments, for the hot path: calling it allocates nothing and reads no errno.
 * @returns a function that gives back what the libc function returned
 */
export function bindCall(name: LibcFunction, ...args: number[]): () => number {
  const call = describe(name, args, false);
  const native = loaded();
  return () => native.load(call) as number;
}
