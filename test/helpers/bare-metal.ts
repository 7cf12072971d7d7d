import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { type BuildOptions, buildGuest, type Guest } from '../../fixtures/bare-metal/build.ts';
import { endWithUs } from './end-with-us.ts';

/** The executable file that `npm run build` makes. */
export const MVM = join(import.meta.dirname, '../../dist/mvm');

export interface GuestOptions extends BuildOptions {
  readonly cmdline?: string;
  /** As `--memory` takes it. */
  readonly memory?: string;
  readonly cpus?: number;
  /** More options of `mvm run`. */
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Descriptors that mvm inherits, from 3 on. */
  readonly inherited?: readonly number[];
  /** What stands before mvm: a program that runs it. */
  readonly launcher?: readonly string[];
}

/** How a process ended: its exit code, or 128 and the signal's number. */
export interface End {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `mvm run` with a bare-metal guest in it. */
export class RunningGuest {
  readonly child: ChildProcess;
  readonly end: Promise<End>;
  #stdout = '';
  #stderr = '';
  #ended = false;
  #changed: () => void = () => {};

  constructor(guest: Guest, options: GuestOptions = {}) {
    if (!existsSync(MVM)) throw new Error(`${MVM} is not there: run \`npm run build\` first`);
    const args = ['run', '--kernel', buildGuest(guest, options), '--cmdline', options.cmdline ?? 'none'];
    if (options.memory !== undefined) args.push('--memory', options.memory);
    if (options.cpus !== undefined) args.push('--cpus', String(options.cpus));
    const [program, ...rest] = [...(options.launcher ?? []), MVM, ...args, ...(options.args ?? [])];
    this.child = spawn(program!, rest, {
      stdio: ['ignore', 'pipe', 'pipe', ...(options.inherited ?? [])],
      env: options.env ?? process.env,
    });
    endWithUs(this.child);
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#changed();
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.end = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        this.#ended = true;
        this.#changed();
        const status = code ?? 128 + constants.signals[signal!];
        resolve({ code: status, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  /** Resolves when the guest has printed `text`; rejects when it ends without having done so. */
  async waitFor(text: string): Promise<void> {
    while (!this.#stdout.includes(text)) {
      if (this.#ended) throw new Error(`mvm ended without "${text}": ${this.#stdout}${this.#stderr}`);
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }
}

/** Starts a guest that does not outlive the test. */
export function startGuest(t: ExecutionContext, guest: Guest, options?: GuestOptions): RunningGuest {
  const running = new RunningGuest(guest, options);
  t.teardown(() => {
    running.child.kill('SIGKILL');
  });
  return running;
}

/** Runs a guest to its end. */
export function runGuest(t: ExecutionContext, guest: Guest, options?: GuestOptions): Promise<End> {
  return startGuest(t, guest, options).end;
}
