import {
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
  BPF_MAXINSNS,
  BPF_RET,
  BPF_W,
  decodeProgram,
  SECCOMP_DATA_SIZE,
  SeccompData,
} from '../../../lib/seccomp/bpf.ts';

/** <linux/bpf_common.h>: what filters may use and mvm's do not. */
export const BPF_IMM = 0x00;
export const BPF_JSET = 0x40;
export const BPF_ADD = 0x00;
export const BPF_SUB = 0x10;
export const BPF_MUL = 0x20;
export const BPF_OR = 0x40;
export const BPF_LSH = 0x60;
export const BPF_RSH = 0x70;
export const BPF_NEG = 0x80;
export const BPF_XOR = 0xa0;
export const BPF_A = 0x10;

/** What a filter is asked about: `struct seccomp_data`. */
export interface CallData {
  /** 32 bits */
  readonly number: number;
  readonly arch: number;
  readonly instructionPointer: bigint;
  /** Six, of 64 bits. */
  readonly args: readonly bigint[];
}

export function encodeCallData({ number, arch, instructionPointer, args }: CallData): DataView {
  const view = new DataView(new ArrayBuffer(SECCOMP_DATA_SIZE));
  view.setUint32(SeccompData.NR, number, true);
  view.setUint32(SeccompData.ARCH, arch, true);
  view.setBigUint64(SeccompData.INSTRUCTION_POINTER, instructionPointer, true);
  for (const [index, value] of args.entries()) view.setBigUint64(SeccompData.ARGS + index * 8, value, true);
  return view;
}

/** A run of a filter. */
export interface FilterRun {
  /** `SECCOMP_RET_*`, with data. */
  readonly value: number;
  /** Instructions that were executed. */
  readonly steps: number;
}

/** Runs a seccomp filter as the kernel does. @throws where the kernel would have refused it */
export function interpret(program: Uint8Array, call: CallData): FilterRun {
  const instructions = decodeProgram(program);
  if (instructions.length === 0 || instructions.length > BPF_MAXINSNS) throw new Error('too short or too long');
  const data = encodeCallData(call);
  let a = 0;
  let next = 0;
  for (let steps = 1; ; steps++) {
    const instruction = instructions[next++];
    if (instruction === undefined) throw new Error('runs over the end');
    const { code, jt, jf, k } = instruction;
    switch (code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (k % 4 !== 0 || k >= SECCOMP_DATA_SIZE) throw new Error('loads from outside');
        a = data.getUint32(k, true);
        break;
      case BPF_LD | BPF_IMM:
        a = k;
        break;
      case BPF_ALU | BPF_ADD | BPF_K:
        a = (a + k) >>> 0;
        break;
      case BPF_ALU | BPF_SUB | BPF_K:
        a = (a - k) >>> 0;
        break;
      case BPF_ALU | BPF_MUL | BPF_K:
        a = Math.imul(a, k) >>> 0;
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        a = (a & k) >>> 0;
        break;
      case BPF_ALU | BPF_OR | BPF_K:
        a = (a | k) >>> 0;
        break;
      case BPF_ALU | BPF_XOR | BPF_K:
        a = (a ^ k) >>> 0;
        break;
      case BPF_ALU | BPF_LSH | BPF_K:
        a = (a << k) >>> 0;
        break;
      case BPF_ALU | BPF_RSH | BPF_K:
        a = a >>> k;
        break;
      case BPF_ALU | BPF_NEG:
        a = -a >>> 0;
        break;
      case BPF_JMP | BPF_JA:
        next += k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        next += a === k ? jt : jf;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        next += a > k ? jt : jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        next += a >= k ? jt : jf;
        break;
      case BPF_JMP | BPF_JSET | BPF_K:
        next += (a & k) !== 0 ? jt : jf;
        break;
      case BPF_RET | BPF_K:
        return { value: k, steps };
      case BPF_RET | BPF_A:
        return { value: a, steps };
      default:
        throw new Error(`unknown instruction 0x${code.toString(16)}`);
    }
  }
}
