/** What a fuzzer decides by: numbers from a list (fast-check, which can shrink it) or from a generator with a seed. */
export interface Tape {
  /** The next number, a u32. */
  next(): number;
  /** Whether it is at its end: from then on `next` gives 0. */
  readonly ended: boolean;
}

/** A tape of given numbers. */
export class ListTape implements Tape {
  readonly #numbers: readonly number[];
  #at = 0;

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }

  next(): number {
    return this.#numbers[this.#at++] ?? 0;
  }

  get ended(): boolean {
    return this.#at >= this.#numbers.length;
  }
}

/** An endless tape: the generator "mulberry32", which is quick, and good enough to wander everywhere. */
export class SeededTape implements Tape {
  readonly ended = false;
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
}

/** A number below `count`. */
export function below(tape: Tape, count: number): number {
  return tape.next() % count;
}

/** True once in `times`. */
export function onceIn(tape: Tape, times: number): boolean {
  return tape.next() % times === 1;
}

export function pick<T>(tape: Tape, choices: readonly T[]): T {
  return choices[tape.next() % choices.length] as T;
}
