/**
 * Classic BPF as seccomp filters use it: <linux/filter.h>, <linux/bpf_common.h>, <linux/seccomp.h>, <linux/audit.h>.
 */
export const BPF_LD = 0x00;
export const BPF_ALU = 0x04;
export const BPF_JMP = 0x05;
export const BPF_RET = 0x06;
export const BPF_W = 0x00;
export const BPF_ABS = 0x20;
export const BPF_AND = 0x50;
export const BPF_JA = 0x00;
export const BPF_JEQ = 0x10;
export const BPF_JGT = 0x20;
export const BPF_JGE = 0x30;
export const BPF_K = 0x00;

/** The most instructions that the kernel takes in one program. */
export const BPF_MAXINSNS = 4096;
/** How far a conditional jump reaches: its offsets are bytes. */
export const MAX_OFFSET = 255;

export const AUDIT_ARCH_X86_64 = 0xc000_003e;
/** Set in the numbers of x32's calls, which use the same entry and the same `AUDIT_ARCH_X86_64` (<asm/unistd.h>). */
export const X32_SYSCALL_BIT = 0x4000_0000;

export const SECCOMP_RET_KILL_PROCESS = 0x8000_0000;
export const SECCOMP_RET_KILL_THREAD = 0x0000_0000;
export const SECCOMP_RET_TRAP = 0x0003_0000;
export const SECCOMP_RET_ERRNO = 0x0005_0000;
export const SECCOMP_RET_TRACE = 0x7ff0_0000;
export const SECCOMP_RET_LOG = 0x7ffc_0000;
export const SECCOMP_RET_ALLOW = 0x7fff_0000;
export const SECCOMP_RET_ACTION_FULL = 0xffff_0000;
export const SECCOMP_RET_DATA = 0x0000_ffff;

/** Offsets in `struct seccomp_data`. */
export const SeccompData = {
  /** i32 */
  NR: 0,
  /** u32 */
  ARCH: 4,
  /** u64 */
  INSTRUCTION_POINTER: 8,
  /** u64[6] */
  ARGS: 16,
} as const;
export const SECCOMP_DATA_SIZE = 64;
export const MAX_ARGUMENT_INDEX = 5;

/** `sizeof(struct sock_filter)`: u16 code, u8 jt, u8 jf, u32 k. */
export const SOCK_FILTER_SIZE = 8;

/** One `struct sock_filter`. */
export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** `struct sock_filter[]`, little-endian. */
export function encodeProgram(instructions: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(instructions.length * SOCK_FILTER_SIZE);
  const view = new DataView(bytes.buffer);
  for (const [index, { code, jt, jf, k }] of instructions.entries()) {
    const at = index * SOCK_FILTER_SIZE;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jt);
    view.setUint8(at + 3, jf);
    view.setUint32(at + 4, k, true);
  }
  return bytes;
}

export function decodeProgram(program: Uint8Array): Instruction[] {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  return Array.from({ length: program.byteLength / SOCK_FILTER_SIZE }, (_, index) => {
    const at = index * SOCK_FILTER_SIZE;
    return {
      code: view.getUint16(at, true),
      jt: view.getUint8(at + 2),
      jf: view.getUint8(at + 3),
      k: view.getUint32(at + 4, true),
    };
  });
}
