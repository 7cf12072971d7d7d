import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';

const root = join(import.meta.dirname, '../..');

/** The program under test: the sources, or the executable that $MVM names. */
export const MVM: readonly string[] =
  process.env.MVM === undefined ? [process.execPath, join(root, 'bin/mvm.ts')] : [process.env.MVM];

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly stdin?: string;
  readonly env?: Record<string, string>;
  /** A descriptor in place of a pipe that is read. */
  readonly stdout?: number;
  /** A shell script that runs first, as root of namespaces of its own (users and mounts). */
  readonly inNamespace?: string;
  readonly uid?: number;
  /** What stands before the program: one that runs it. */
  readonly launcher?: readonly string[];
}

/** Runs mvm and waits for its end. */
export async function mvm(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const { cwd = root, stdin = '', env = {}, stdout = 'pipe', inNamespace, uid, launcher = [] } = options;
  const [program, ...first] =
    inNamespace === undefined
      ? [...launcher, ...MVM]
      : ['unshare', '--map-root-user', '--mount', 'sh', '-ec', `${inNamespace}\nexec "$@"`, 'sh', ...MVM];
  const child = spawn(program!, [...first, ...args], {
    cwd,
    stdio: ['pipe', stdout, 'pipe'],
    // No colours, debuggers or options of the test runner's own.
    env: { PATH: process.env.PATH, HOME: cwd, ...env },
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
    });
  }
  // mvm may have ended before it read its input.
  child.stdin?.on('error', () => {});
  child.stdin?.end(stdin);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (...end) => resolve(end));
  });
  return { code, signal, ...text };
}

type Files = Readonly<Record<string, string | Uint8Array>>;

/** A directory that lasts as long as the test, with these files. */
export function directoryWith(t: ExecutionContext, files: Files = {}): string {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-cli-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  return directory;
}

/**
 * Runs mvm where it must fail: with this exit code, these lines on standard error and nothing else, nothing on standard output, and
 * no file left in its working directory.
 */
export async function fails(
  t: ExecutionContext,
  args: readonly string[],
  code: number,
  lines: readonly (string | RegExp)[],
  options: RunOptions & { readonly files?: Files } = {},
): Promise<void> {
  const cwd = options.cwd ?? directoryWith(t, options.files);
  const before = readdirSync(cwd);
  const outcome = await mvm(args, { ...options, cwd, env: { TMPDIR: cwd, ...options.env } });
  const actual = outcome.stderr.split('\n');
  t.is(actual.pop(), '', 'the last line ends');
  t.is(actual.length, lines.length, outcome.stderr);
  for (const [index, line] of lines.entries()) {
    if (typeof line === 'string') t.is(actual[index], line);
    else t.regex(actual[index] ?? '', line);
  }
  t.is(outcome.stdout, '');
  t.is(outcome.code, code, outcome.stderr);
  t.deepEqual(readdirSync(cwd), before, 'nothing is left behind');
}
