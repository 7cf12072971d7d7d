import { ExitCode, MvmError } from '../errors.ts';
import type { JsonPath } from './json.ts';

/** Whose fault a problem is; it decides the exit code. */
export type ProblemKind = 'usage' | 'config' | 'host';

/** One thing that is wrong, for one line of output. */
export interface Problem {
  readonly kind: ProblemKind;
  /** `vm.json:4:19: /machine-config/vcpu_count`, or the option that set it, or a file. */
  readonly where: string;
  readonly message: string;
  readonly hint?: string;
}

/** A problem whose place is still a path in the configuration. */
export interface PathProblem {
  readonly path: JsonPath;
  readonly message: string;
  readonly hint?: string;
  /** Whether the key itself is wrong, not its value. */
  readonly atKey?: boolean;
  /** Whether nothing is at `path`, but has to be. */
  readonly isMissing?: boolean;
  /** Default: `config`, or `usage` where an option set the value. */
  readonly kind?: ProblemKind;
}

/** `where: what; hint`, without a newline. */
export function problemToLine(problem: Problem): string {
  return `${problem.where}: ${problem.message}${problem.hint === undefined ? '' : `; ${problem.hint}`}`;
}

/** A wrong file outweighs a wrong option, and both a host that is not able. */
export function exitCodeOf(problems: readonly Problem[]): ExitCode {
  if (problems.some((problem) => problem.kind === 'config')) return ExitCode.BadConfig;
  if (problems.some((problem) => problem.kind === 'usage')) return ExitCode.Usage;
  return ExitCode.HostUnable;
}

/** The configuration has problems: all of them. `toLine()` gives the first. */
export class ConfigProblems extends MvmError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly [Problem, ...Problem[]]) {
    const [{ message, where, hint }] = problems;
    super(exitCodeOf(problems), message, { where, ...(hint === undefined ? {} : { hint }) });
    this.problems = problems;
  }
}
