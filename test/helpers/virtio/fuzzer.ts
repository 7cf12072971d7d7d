import type { FuzzCounts, FuzzSubject } from './fuzz-subjects.ts';
import { ListTape, SeededTape, type Tape } from './tape.ts';

/** Milliseconds that shrinking may take. */
const SHRINK_LIMIT = 60_000;

/** A program that found something. */
export interface Failure {
  readonly subject: FuzzSubject;
  /** It alone: `SeededTape`'s. */
  readonly seed: number;
  readonly error: Error;
  /** A short list of numbers that does the same. */
  readonly tape: readonly number[];
}

/** Runs a program again, and keeps the numbers that it reads. */
class RecordingTape implements Tape {
  readonly ended = false;
  readonly numbers: number[] = [];
  readonly #tape: Tape;

  constructor(tape: Tape) {
    this.#tape = tape;
  }

  next(): number {
    const number = this.#tape.next();
    this.numbers.push(number);
    return number;
  }
}

/**
 * Lets `runs` programs loose on a subject, of the seeds from `seed` on.
 * @param counts what they did is added to it
 * @returns the first that found something, shrunk
 */
export function fuzz(
  subject: FuzzSubject,
  { runs, seed, steps }: { runs: number; seed: number; steps: number },
  counts: FuzzCounts,
): Failure | undefined {
  for (let i = 0; i < runs; i++) {
    const own = (seed + i) >>> 0;
    try {
      subject.run(new SeededTape(own), steps, counts);
    } catch (error) {
      return { subject, seed: own, error: error as Error, tape: shrink(subject, own, steps) };
    }
  }
  return undefined;
}

/** The command line that picks a subject. */
function optionsOf({ device, transport }: FuzzSubject, steps: number): string {
  const of = transport === undefined ? '' : ` --transport ${transport}`;
  return `npm run fuzz -- --device ${device}${of} --steps ${steps}`;
}

/** What was found, and how to find it again. @param file where the shrunk tape was written */
export function describe({ subject, seed, error, tape }: Failure, steps: number, file: string): string {
  const command = optionsOf(subject, steps);
  return [
    `${subject.name}: seed ${seed}: ${error.stack}`,
    `again:  ${command} --runs 1 --seed ${seed}`,
    `shrunk: ${command} --tape ${file}    (${tape.length} numbers)`,
  ].join('\n');
}

/** Makes a failing program short: leaves out numbers and makes them 0, many at once and then fewer, as long as it fails as before. */
function shrink(subject: FuzzSubject, seed: number, steps: number): readonly number[] {
  const recording = new RecordingTape(new SeededTape(seed));
  const message = failureOf(subject, recording, steps);
  let numbers: readonly number[] = recording.numbers;
  const deadline = performance.now() + SHRINK_LIMIT;
  const attempt = (changed: readonly number[]): boolean => {
    if (performance.now() > deadline || failureOf(subject, new ListTape(changed), steps) !== message) return false;
    numbers = changed;
    return true;
  };
  for (let size = numbers.length; size >= 1; size = Math.floor(size / 2)) {
    // From the end, so that what is still to come keeps its place.
    for (let at = numbers.length - size; at > -size; at -= size) {
      const [start, end] = [Math.max(0, at), at + size];
      if (attempt([...numbers.slice(0, start), ...numbers.slice(end)])) continue;
      const part = numbers.slice(start, end);
      if (part.every((number) => number === 0)) continue;
      attempt([...numbers.slice(0, start), ...part.map(() => 0), ...numbers.slice(end)]);
    }
  }
  return numbers;
}

/** What a program finds: the first line of its error. */
function failureOf(subject: FuzzSubject, tape: Tape, steps: number): string | undefined {
  try {
    subject.run(tape, steps, { chains: 0, accesses: 0, resets: 0, faults: 0 });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
