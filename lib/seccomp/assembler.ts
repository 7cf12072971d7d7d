import {
  BPF_ABS,
  BPF_ALU,
  BPF_AND,
  BPF_JA,
  BPF_JMP,
  BPF_K,
  BPF_LD,
  BPF_RET,
  BPF_W,
  type Instruction,
  MAX_OFFSET,
} from './bpf.ts';

/** Where execution goes on: an instruction that was made before, counted from the program's end, or a return. */
export interface Label {
  readonly fromEnd: number;
  /** What the program returns there, so that a copy can be made nearby. */
  readonly returns?: number;
}

/**
 * Builds a BPF program from its end to its start. BPF jumps forward only, so every target is there before the jump to it, and its
 * distance is known: where it is too far for a byte, a return is made again nearby, and anything else is reached through `ja`.
 */
export class Assembler {
  /** In reverse order. */
  readonly #instructions: Instruction[] = [];
  readonly #notes: string[] = [];
  /** The last copy of each return, by what it returns. */
  readonly #returns = new Map<number, Label>();

  /** How many instructions there are. */
  get length(): number {
    return this.#instructions.length;
  }

  #emit(code: number, k: number, jt = 0, jf = 0, note = ''): number {
    this.#notes.push(note);
    return this.#instructions.push({ code, jt, jf, k }) - 1;
  }

  /** `ret #value`, or where the last one is. */
  return(value: number): Label {
    return this.#returns.get(value) ?? this.#newReturn(value);
  }

  #newReturn(value: number): Label {
    const label = { fromEnd: this.#emit(BPF_RET | BPF_K, value), returns: value };
    this.#returns.set(value, label);
    return label;
  }

  /** `ld [offset]`: loads a word of `struct seccomp_data`, and goes on at `next`. */
  load(offset: number, next: Label): Label {
    this.#adjoin(next);
    return { fromEnd: this.#emit(BPF_LD | BPF_W | BPF_ABS, offset) };
  }

  /** `and #mask`, and goes on at `next`. */
  and(mask: number, next: Label, note = ''): Label {
    this.#adjoin(next);
    return { fromEnd: this.#emit(BPF_ALU | BPF_AND | BPF_K, mask, 0, 0, note) };
  }

  /**
   * Compares the word that was loaded with `k`.
   * @param test BPF_JEQ, BPF_JGT or BPF_JGE (unsigned)
   * @param note for the disassembly: what `k` stands for
   */
  jump(test: number, k: number, ifTrue: Label, ifFalse: Label, note = ''): Label {
    // Bringing one target nearer moves the other away, by one instruction.
    const near = this.#reach(ifFalse, 1);
    const jt = this.#reach(ifTrue, 0);
    const jf = this.#distance(near);
    return { fromEnd: this.#emit(BPF_JMP | test | BPF_K, k, this.#distance(jt), jf, note) };
  }

  /** The program in the order of execution, and a note for each instruction, empty where there is none. */
  finish(): { readonly instructions: readonly Instruction[]; readonly notes: readonly string[] } {
    return { instructions: this.#instructions.toReversed(), notes: this.#notes.toReversed() };
  }

  /** Instructions between the one that comes next (before all others) and a target. */
  #distance({ fromEnd }: Label): number {
    return this.length - 1 - fromEnd;
  }

  /** A label that a jump reaches, with `spare` more instructions between. */
  #reach(target: Label, spare: number): Label {
    const { returns } = target;
    const nearest = returns === undefined ? target : this.#returns.get(returns)!;
    if (this.#distance(nearest) + spare <= MAX_OFFSET) return nearest;
    if (returns !== undefined) return this.#newReturn(returns);
    return { fromEnd: this.#emit(BPF_JMP | BPF_JA, this.#distance(target)) };
  }

  /** Makes `next` what follows the instruction that comes next. */
  #adjoin(next: Label): void {
    if (this.#distance(next) > 0) this.#emit(BPF_JMP | BPF_JA, this.#distance(next));
  }
}
