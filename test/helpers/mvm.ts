import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { endWithUs } from './end-with-us.ts';

/** What users get. */
export const EXECUTABLE = join(import.meta.dirname, '../../dist/mvm');

/** How a process ended. */
export interface MvmResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** From start to end, in milliseconds. */
  readonly elapsed: number;
}

/** A running `dist/mvm`: the executable that users get. */
export class Mvm {
  readonly process: ChildProcessWithoutNullStreams;
  readonly #started = performance.now();
  readonly #ended: Promise<MvmResult>;
  #stdout = '';
  #stderr = '';
  #onOutput = () => {};

  /** @param prefix a command that runs it, such as `unshare` */
  constructor(args: readonly string[], prefix: readonly string[] = []) {
    if (!existsSync(EXECUTABLE)) throw new Error('dist/mvm is not there: npm run build');
    const [command, ...rest] = [...prefix, EXECUTABLE, ...args] as [string, ...string[]];
    this.process = spawn(command, rest);
    endWithUs(this.process);
    this.process.stdout.setEncoding('latin1').on('data', (text: string) => {
      this.#stdout += text;
      this.#onOutput();
    });
    this.process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    // A guest that ends early closes the pipe under our hands.
    this.process.stdin.on('error', () => {});
    this.#ended = once(this.process, 'close').then(([code]) => {
      this.#onOutput();
      return { code, stdout: this.#stdout, stderr: this.#stderr, elapsed: performance.now() - this.#started };
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** Types at the guest. */
  type(text: string | Uint8Array): void {
    this.process.stdin.write(text);
  }

  /**
   * Waits until the guest has printed `pattern`.
   * @returns milliseconds from mvm's start
   * @throws Error with all output where mvm ends before
   */
  async waitFor(pattern: RegExp): Promise<number> {
    while (!pattern.test(this.#stdout)) {
      if (this.process.exitCode !== null || this.process.signalCode !== null) {
        throw new Error(`mvm ended without printing ${pattern}:\n${this.#stdout}\n${this.#stderr}`);
      }
      await new Promise<void>((resolve) => {
        this.#onOutput = resolve;
      });
    }
    return performance.now() - this.#started;
  }

  /** Resolves when the process has ended. */
  end(): Promise<MvmResult> {
    return this.#ended;
  }

  /** Ends the process if it still runs; for a test's teardown. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGKILL');
    await this.#ended;
  }
}

/** Runs `dist/mvm` to its end. */
export async function runMvm(args: readonly string[]): Promise<MvmResult> {
  await using mvm = new Mvm(args);
  mvm.process.stdin.end();
  return await mvm.end();
}
