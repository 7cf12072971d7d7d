import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { buildProgram } from '../bench/lib/programs.ts';
import { endWithUs } from './end-with-us.ts';

/** A program of test/bench/lib that runs beside a guest. */
export class Program {
  readonly process: ChildProcess;
  readonly #ended: Promise<unknown>;
  #output = '';
  #onOutput = () => {};

  constructor(name: Parameters<typeof buildProgram>[0], args: readonly string[]) {
    this.process = spawn(buildProgram(name), args, { stdio: ['pipe', 'pipe', 'inherit'] });
    endWithUs(this.process);
    this.process.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
      this.#onOutput();
    });
    this.#ended = once(this.process, 'close').then(() => this.#onOutput());
  }

  /** Waits for a line. @throws Error where it ends before */
  async waitFor(line: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = line.exec(this.#output);
      if (match !== null) return match;
      if (this.process.exitCode !== null || this.process.signalCode !== null) {
        throw new Error(`it ended without ${line}: ${this.#output}`);
      }
      await new Promise<void>((resolve) => {
        this.#onOutput = resolve;
      });
    }
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill();
    await this.#ended;
  }
}
