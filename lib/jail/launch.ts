import { SystemError } from '../ffi/errors.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { NativeCode, NativeRoutine } from '../native/code.ts';
import { type CallList, CompiledCalls, type FailedCall } from './call-list.ts';
import { CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS, CLONE_VM, SIGCHLD } from './syscalls.ts';

/** Offsets of the block of `lib/native/jail.S`. */
const FLAGS = 0;
const STACK = 8;
const LIST = 16;
const PID = 24;
const ALL_SIGNALS = 40;
const BLOCK_SIZE = 64;
/** The process uses none of it. */
const STACK_SIZE = 4096;

/** The keeper of a jail's namespaces: a process that shares our memory, and runs no JavaScript. */
export class Keeper {
  readonly pid: number;
  readonly #calls: CompiledCalls;

  /**
   * Makes the namespaces, and the process that makes the calls of `list` in them.
   * @param withUsers whether there is to be a namespace of users too
   * @throws SystemError where the kernel refuses
   */
  constructor(list: CallList, withUsers: boolean) {
    this.#calls = new CompiledCalls(list);
    const block = new NativeBuffer(BLOCK_SIZE + STACK_SIZE, 64);
    const users = withUsers ? CLONE_NEWUSER : 0;
    block.setNumber64(FLAGS, CLONE_VM | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | users | SIGCHLD);
    block.setNumber64(STACK, block.address + BLOCK_SIZE + STACK_SIZE);
    block.setNumber64(LIST, this.#calls.address);
    block.bytes.fill(0xff, ALL_SIGNALS, ALL_SIGNALS + 8);
    new NativeRoutine(new NativeCode({ jail: block.address }), 'jail').run();
    this.pid = block.getNumber64(PID);
    if (this.pid < 0) {
      throw new SystemError('clone', -this.pid, 'make the namespaces of the jail', {
        hint: withUsers
          ? '`mvm doctor` tells who forbids user namespaces here; root can do without them'
          : 'root needs CAP_SYS_ADMIN for it, which a container has to be started with',
      });
    }
  }

  /** The process that became mvm in the jail; 0: there is none yet. */
  get startedPid(): number {
    return this.#calls.processId;
  }

  /** What went wrong so far, in the keeper or in the process that was to become mvm. */
  get failures(): FailedCall[] {
    return this.#calls.failures;
  }
}
