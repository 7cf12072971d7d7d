import { writeSync } from 'node:fs';
import { ConfigProblems, type Problem, problemToLine } from '../lib/config/problems.ts';
import { ExitCode, MvmError } from '../lib/errors.ts';

const STDERR = 2;

/** How messages look. */
export interface ReportStyle {
  readonly format: 'text' | 'json';
  readonly debug: boolean;
}

/** Reads the style out of unparsed arguments, so that it holds for their own errors too. */
export function reportStyleOf(args: readonly string[]): ReportStyle {
  const options = args.includes('--') ? args.slice(0, args.indexOf('--')) : args;
  const isJson = options.some(
    (arg, index) => arg === '--log-format=json' || (arg === '--log-format' && options[index + 1] === 'json'),
  );
  return { format: isJson ? 'json' : 'text', debug: options.includes('--debug') };
}

/** The command line is wrong. */
export class UsageError extends MvmError {
  constructor(message: string, options: { where?: string; hint?: string } = {}) {
    super(ExitCode.Usage, message, options);
  }
}

/** Says on standard error what went wrong: one line for each problem. @returns the exit code that follows */
export function reportError(error: unknown, style: ReportStyle): ExitCode {
  if (error instanceof ConfigProblems) {
    for (const problem of error.problems) reportProblem(problem, style);
  } else if (error instanceof MvmError) {
    const { where, message, hint } = error;
    writeError({ where, message, hint }, error.toLine(), style);
  } else {
    const message = error instanceof Error ? error.message : String(error);
    const hint = style.debug ? undefined : 'this is a defect of mvm: run it with --debug and report what it says';
    writeError({ message, hint }, `internal error: ${message}${hint === undefined ? '' : `; ${hint}`}`, style);
  }
  if (style.debug && error instanceof Error) writeStderr(`${traceOf(error)}\n`);
  return error instanceof MvmError ? error.exitCode : ExitCode.Internal;
}

export function reportProblem(problem: Problem, style: ReportStyle): void {
  const { where, message, hint } = problem;
  writeError({ where, message, hint }, problemToLine(problem), style);
}

function writeError(fields: Record<string, string | undefined>, line: string, style: ReportStyle): void {
  const text =
    style.format === 'json'
      ? JSON.stringify({ time: new Date().toISOString(), level: 'Error', ...fields })
      : `mvm: ${printable(line)}`;
  writeStderr(`${text}\n`);
}

/** Paths and texts of others are part of a message: they must not break its line or drive a terminal. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get through
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, ' ');
}

function traceOf(error: Error): string {
  const trace = error.stack ?? String(error);
  return error.cause instanceof Error ? `${trace}\ncaused by ${traceOf(error.cause)}` : trace;
}

/** Standard error may be closed or full: there is nobody left to tell. */
function writeStderr(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {}
}
