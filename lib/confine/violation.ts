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
/** A `pthread_t` and an address. */
const PAIR_SIZE = 16;
const LINE_SIZE = 512;
const LONGEST_TEXT = 128;
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

let table: Uint8Array | undefined;

/** The names of system calls by number, as `violation.S` finds them: a length and at most 31 characters each. */
export function nameTable(): Uint8Array {
  if (table === undefined) {
    const count = Math.max(...SYSTEM_CALLS.values()) + 1;
    const made = Buffer.alloc(count * NAME_SIZE);
    for (let number = 0; number < count; number++) setName(made, number, 'system call');
    for (const [name, number] of SYSTEM_CALLS) setName(made, number, name);
    table = new Uint8Array(made);
  }
  return table;
}

function setName(table: Buffer, number: number, name: string): void {
  table[number * NAME_SIZE] = table.write(name, number * NAME_SIZE + 1, NAME_SIZE - 1, 'latin1');
}

/** Has the process end with exit code 148 and one line, whatever thread a filter stops. What it needs stays until then. */
export function installViolationHandler(arena: NativeArena, { format, vcpus, terminal }: ViolationOptions): void {
  const { memory, violationBlock: block } = arena;
  const names = nameTable();
  const texts = REPORTERS.flatMap(([profile, thread]) => {
    const { before, after } = stoppedCallTexts(thread, profile);
    const [start, end] = format === 'json' ? ['{"level":"Error","message":"', '"}\n'] : ['mvm: ', '\n'];
    return [Buffer.from(start + before), Buffer.from(after + end)];
  });
  // One buffer for all: each costs a foreign call, and may cause a garbage collection.
  const kept = new NativeBuffer(names.length + vcpus.length * PAIR_SIZE + LINE_SIZE + texts.length * LONGEST_TEXT);
  let used = 0;
  const place = (size: number): number => {
    used += size;
    return used - size;
  };
  const pairs = place(vcpus.length * PAIR_SIZE);
  for (const [index, { pthread, controlBlock }] of vcpus.entries()) {
    kept.setNumber64(pairs + index * PAIR_SIZE, pthread);
    kept.setNumber64(pairs + index * PAIR_SIZE + 8, controlBlock);
  }
  memory.setNumber64(block + Block.VCPUS, kept.address + pairs);
  memory.view.setUint32(block + Block.VCPU_COUNT, vcpus.length, true);
  memory.setNumber64(block + Block.LINE, kept.address + place(LINE_SIZE));
  const firstName = place(names.length);
  kept.bytes.set(names, firstName);
  memory.setNumber64(block + Block.NAMES, kept.address + firstName);
  memory.view.setUint32(block + Block.NAME_COUNT, names.length / NAME_SIZE, true);
  memory.view.setInt32(block + Block.TERMINAL_FD, terminal?.fd ?? NO_TERMINAL, true);
  memory.setNumber64(block + Block.TERMIOS, terminal?.address ?? 0);
  for (const [index, text] of texts.entries()) {
    const at = place(text.length);
    kept.bytes.set(text, at);
    memory.setNumber64(block + Block.TEXTS + index * 16, kept.address + at);
    memory.setNumber64(block + Block.TEXTS + index * 16 + 8, text.length);
  }
  const action = new NativeBuffer(sigaction.size);
  const handler = arena.code.addressOf('violation');
  sigaction.write(action.view, 0, { sa_handler: handler, sa_flags: SA_SIGINFO });
  call('sigaction', 'report what a seccomp filter stops', SIGSYS, action.address, 0);
  action.release();
}
