/** Indices of `RegisterFile.quads`: the order of `struct kvm_regs`. */
export const Register = {
  rax: 0,
  rbx: 1,
  rcx: 2,
  rdx: 3,
  rsi: 4,
  rdi: 5,
  rsp: 6,
  rbp: 7,
  r8: 8,
  r9: 9,
  r10: 10,
  r11: 11,
  r12: 12,
  r13: 13,
  r14: 14,
  r15: 15,
  rip: 16,
  rflags: 17,
} as const;

/** The numbers by which instructions name the registers that some of them imply. Intel SDM vol. 2, table 2-2. */
export const Gpr = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5 } as const;

/** Registers in `struct kvm_regs`, 8 bytes each. */
export const REGISTER_COUNT = 18;

/** From a register's number in an instruction (rax rcx rdx rbx rsp rbp rsi rdi r8 …) to its index. */
const INDEX_OF_NUMBER = new Uint8Array([0, 2, 3, 1, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15]);

/** Bits of RFLAGS. Intel SDM vol. 1, §3.4.3. */
export const Flag = {
  CF: 1 << 0,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
} as const;

/** The six flags that arithmetic sets. */
export const ARITHMETIC_FLAGS = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;

/**
 * General registers, RIP and RFLAGS over memory laid out as `struct kvm_regs`: KVM's shared `kvm_run` area, or a copy.
 *
 * Methods take the number that instructions encode; `quads` is indexed with `Register`. Numbers are unsigned.
 */
export class RegisterFile {
  readonly quads: BigUint64Array<ArrayBufferLike>;
  readonly #dwords: Uint32Array<ArrayBufferLike>;
  readonly #words: Uint16Array<ArrayBufferLike>;
  readonly #bytes: Uint8Array<ArrayBufferLike>;

  /** @param byteOffset of the structure in `buffer`: a multiple of 8 */
  constructor(buffer: ArrayBufferLike, byteOffset = 0) {
    this.quads = new BigUint64Array(buffer, byteOffset, REGISTER_COUNT);
    this.#dwords = new Uint32Array(buffer, byteOffset, REGISTER_COUNT * 2);
    this.#words = new Uint16Array(buffer, byteOffset, REGISTER_COUNT * 4);
    this.#bytes = new Uint8Array(buffer, byteOffset, REGISTER_COUNT * 8);
  }

  get rip(): bigint {
    return this.quads[Register.rip]!;
  }

  set rip(value: bigint) {
    this.quads[Register.rip] = value;
  }

  /** RFLAGS: its upper half is reserved, and stays as it is. */
  get flags(): number {
    return this.#dwords[Register.rflags * 2]!;
  }

  set flags(value: number) {
    this.#dwords[Register.rflags * 2] = value;
  }

  /** Sets the flags in `mask` as `values` has them. */
  changeFlags(mask: number, values: number): void {
    this.flags = (this.flags & ~mask) | (values & mask);
  }

  get64(number: number): bigint {
    return this.quads[INDEX_OF_NUMBER[number]!]!;
  }

  set64(number: number, value: bigint): void {
    this.quads[INDEX_OF_NUMBER[number]!] = value;
  }

  get32(number: number): number {
    return this.#dwords[INDEX_OF_NUMBER[number]! * 2]!;
  }

  /** Writes 32 bits and clears the upper 32, as every 32-bit operation does in 64-bit mode (Intel SDM vol. 1, §3.4.1.1). */
  set32(number: number, value: number): void {
    const index = INDEX_OF_NUMBER[number]! * 2;
    this.#dwords[index] = value;
    this.#dwords[index + 1] = 0;
  }

  get16(number: number): number {
    return this.#words[INDEX_OF_NUMBER[number]! * 4]!;
  }

  /** Writes 16 bits and leaves the rest. */
  set16(number: number, value: number): void {
    this.#words[INDEX_OF_NUMBER[number]! * 4] = value;
  }

  /** @param rex whether the instruction has a REX prefix: without one, 4 to 7 are AH, CH, DH and BH */
  get8(number: number, rex: boolean): number {
    if (!rex && number >= 4 && number < 8) return this.#bytes[INDEX_OF_NUMBER[number - 4]! * 8 + 1]!;
    return this.#bytes[INDEX_OF_NUMBER[number]! * 8]!;
  }
}
