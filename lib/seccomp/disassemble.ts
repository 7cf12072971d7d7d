import {
  AUDIT_ARCH_X86_64,
  BPF_ABS,
  BPF_ALU,
  BPF_AND,
  BPF_JA,
  BPF_JEQ,
  BPF_JGE,
  BPF_JGT,
  BPF_JMP,
  BPF_K,
  BPF_LD,
  BPF_RET,
  BPF_W,
  decodeProgram,
  type Instruction,
  SECCOMP_RET_ACTION_FULL,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_DATA,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_KILL_THREAD,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_TRAP,
  SeccompData,
} from './bpf.ts';
import type { Listing } from './compile.ts';
import { threadOfNumber } from './profile.ts';

/** A program as text, an instruction a line. @param program `struct sock_filter[]` */
export function disassemble(program: Uint8Array): string {
  return listing({ instructions: decodeProgram(program), notes: [] });
}

/** As `disassemble`, with what the compiler notes about the constants. */
export function listing({ instructions, notes }: Listing): string {
  const width = String(instructions.length).length;
  return instructions
    .map((instruction, index) => {
      const note = notes[index] || knownConstant(instruction);
      const text = describe(instruction, index);
      return `${String(index).padStart(width)}: ${note === '' ? text : `${text.padEnd(44)} ; ${note}`}\n`;
    })
    .join('');
}

const COMPARISONS: Readonly<Record<number, string>> = { [BPF_JEQ]: 'jeq', [BPF_JGT]: 'jgt', [BPF_JGE]: 'jge' };

function describe({ code, jt, jf, k }: Instruction, index: number): string {
  switch (code) {
    case BPF_LD | BPF_W | BPF_ABS:
      return `ld  ${fieldName(k)}`;
    case BPF_ALU | BPF_AND | BPF_K:
      return `and ${hex(k)}`;
    case BPF_RET | BPF_K:
      return `ret ${actionName(k)}`;
    case BPF_JMP | BPF_JA:
      return `ja  ${index + 1 + k}`;
  }
  const comparison = COMPARISONS[code - BPF_JMP];
  if (comparison === undefined) return `code ${hex(code)} jt ${jt} jf ${jf} k ${hex(k)}`;
  return `${comparison} ${hex(k).padEnd(12)} then ${index + 1 + jt} else ${index + 1 + jf}`;
}

function fieldName(offset: number): string {
  if (offset === SeccompData.NR) return 'nr';
  if (offset === SeccompData.ARCH) return 'arch';
  const half = offset % 8 === 0 ? 'low' : 'high';
  const name =
    offset < SeccompData.ARGS ? 'instruction_pointer' : `args[${Math.floor((offset - SeccompData.ARGS) / 8)}]`;
  return `${name}.${half}`;
}

function actionName(value: number): string {
  const data = value & SECCOMP_RET_DATA;
  switch ((value & SECCOMP_RET_ACTION_FULL) >>> 0) {
    case SECCOMP_RET_ALLOW:
      return 'ALLOW';
    case SECCOMP_RET_LOG:
      return 'LOG';
    case SECCOMP_RET_TRAP:
      return data === 0 ? 'TRAP' : `TRAP ${data}${threadNote(data)}`;
    case SECCOMP_RET_ERRNO:
      return `ERRNO ${data}`;
    case SECCOMP_RET_TRACE:
      return `TRACE ${data}`;
    case SECCOMP_RET_KILL_PROCESS:
      return 'KILL_PROCESS';
    case SECCOMP_RET_KILL_THREAD:
      return 'KILL_THREAD';
    default:
      return hex(value);
  }
}

function threadNote(number: number): string {
  const thread = threadOfNumber(number);
  return thread === undefined ? '' : ` (${thread})`;
}

function knownConstant({ code, k }: Instruction): string {
  return code === (BPF_JMP | BPF_JEQ | BPF_K) && k === AUDIT_ARCH_X86_64 ? 'AUDIT_ARCH_X86_64' : '';
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
