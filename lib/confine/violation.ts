import type { TerminalState } from '../console/termios.ts';
import { call } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { NativeArena } from '../loop/arena.ts';
import type { ThreadKind } from '../seccomp/profile.ts';
import { stoppedCallTexts } from '../seccomp/stopped-call.ts';
import { SYSTEM_CALLS } from '../seccomp/syscalls.ts';
import { sigaction } from '../vcpu/kick-signal.ts';
import type { VcpuThread } from '../vcpu/thread.ts';

/** What seccomp sends to a thread that it traps. */
export const SIGSYS = 31;
const SA_SIGINFO = 4;

/** Offsets in the block of `violation.S`. */
const Block = {
  NAMES: 0,
  NAME_COUNT: 8,
  TERMINAL_FD: 12,
  TERMIOS: 16,
  VCPUS: 24,
  VCPU_COUNT: 32,
  LINE: 40,
  TEXTS: 48,
} as const;
const NAME_SIZE = 32;
const LINE_SIZE = 512;
const NO_TERMINAL = -1;

/** The threads that report by themselves, in the order of `THREAD_KINDS`. */
const REPORTERS: readonly (readonly [ThreadKind, string])[] = [
  ['main', 'the JavaScript thread'],
  ['runtime', 'a thread of Node'],
];

export interface ViolationOptions {
  readonly format: 'text' | 'json';
  readonly vcpus: readonly VcpuThread[];
  /** Put back before anything is said. */
  readonly terminal: TerminalState | undefined;
}

let names: Uint8Array | undefined;

/** The names of system calls by number, as `violation.S` finds them: a length and at most 31 characters each. */
export function nameTable(): Uint8Array {
  if (names === undefined) {
    const count = Math.max(...SYSTEM_CALLS.values()) + 1;
    const table = Buffer.alloc(count * NAME_SIZE);
    for (let number = 0; number < count; number++) setName(table, number, 'system call');
    for (const [name, number] of SYSTEM_CALLS) setName(table, number, name);
    names = new Uint8Array(table);
  }
  return names;
}

function setName(table: Buffer, number: number, name: string): void {
  table[number * NAME_SIZE] = table.write(name, number * NAME_SIZE + 1, NAME_SIZE - 1, 'latin1');
}

/** Has the process end with exit code 148 and one line, whatever thread a filter stops. What it needs stays until then. */
export function installViolationHandler(arena: NativeArena, { format, vcpus, terminal }: ViolationOptions): void {
  const { memory, violationBlock: block } = arena;
  const table = nameTable();
  memory.setNumber64(block + Block.NAMES, keep(table));
  memory.view.setUint32(block + Block.NAME_COUNT, table.length / NAME_SIZE, true);
  memory.view.setInt32(block + Block.TERMINAL_FD, terminal?.fd ?? NO_TERMINAL, true);
  memory.setNumber64(block + Block.TERMIOS, terminal?.address ?? 0);
  const pairs = new NativeBuffer(vcpus.length * 16);
  for (const [index, { pthread, controlBlock }] of vcpus.entries()) {
    pairs.setNumber64(index * 16, pthread);
    pairs.setNumber64(index * 16 + 8, controlBlock);
  }
  memory.setNumber64(block + Block.VCPUS, pairs.address);
  memory.view.setUint32(block + Block.VCPU_COUNT, vcpus.length, true);
  memory.setNumber64(block + Block.LINE, new NativeBuffer(LINE_SIZE).address);
  for (const [index, [profile, thread]] of REPORTERS.entries()) {
    const { before, after } = stoppedCallTexts(thread, profile);
    const [start, end] = format === 'json' ? ['{"level":"Error","message":"', '"}\n'] : ['mvm: ', '\n'];
    for (const [half, text] of [start + before, after + end].entries()) {
      const bytes = Buffer.from(text);
      const at = block + Block.TEXTS + index * 32 + half * 16;
      memory.setNumber64(at, keep(bytes));
      memory.setNumber64(at + 8, bytes.length);
    }
  }
  const action = new NativeBuffer(sigaction.size);
  const handler = arena.code.addressOf('violation');
  sigaction.write(action.view, 0, { sa_handler: handler, sa_flags: SA_SIGINFO });
  call('sigaction', 'report what a seccomp filter stops', SIGSYS, action.address, 0);
  action.release();
}

/** @returns the host address of a copy that stays */
function keep(bytes: Uint8Array): number {
  const copy = new NativeBuffer(bytes.length);
  copy.bytes.set(bytes);
  return copy.address;
}
