import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { ExecutionContext } from 'ava';

const HERE = import.meta.dirname;
/** The command that runs the guest of these tests. */
export const GUEST = [process.execPath, join(HERE, 'echo-guest.ts')] as const;
/** A test that waits longer for something has failed. */
const PATIENCE = 60_000;

/** A directory that is gone after the test. */
export function temporaryDirectory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'mvm-console-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Text that grows, and those who wait for something to be in it. */
class Transcript {
  text = '';
  #waiting: (() => void)[] = [];

  add(text: string): void {
    this.text += text;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const look of waiting) look();
  }

  async until(what: string | RegExp, from = 0): Promise<void> {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const rest = this.text.slice(from);
      if (typeof what === 'string' ? rest.includes(what) : what.test(rest)) return;
      if (Date.now() > deadline) throw new Error(`never saw ${what} in ${JSON.stringify(this.text.slice(-500))}`);
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        setTimeout(resolve, 1000).unref();
      });
    }
  }
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Runs a shell command line to its end. `input` goes to its standard input. */
export async function shell(command: string, input: Uint8Array | string = ''): Promise<Finished> {
  const child = spawn('bash', ['-c', command], { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [stdout, stderr] = await Promise.all([collect(child.stdout), collect(child.stderr)]);
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return { code: child.exitCode, stdout, stderr: stderr.toString() };
}

async function collect(stream: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** How the terminal is set. */
export interface Modes {
  readonly canonical: boolean;
  readonly echo: boolean;
  readonly signals: boolean;
  readonly post: boolean;
  /** `O_NONBLOCK` on the description that the command shares with us. */
  readonly nonblock: boolean;
}

/** A terminal as a shell has it for its commands. */
export const COOKED: Modes = { canonical: true, echo: true, signals: true, post: true, nonblock: false };
export const RAW: Modes = { canonical: false, echo: false, signals: false, post: false, nonblock: false };

interface PtyEvent {
  output?: string;
  stopped?: true;
  continued?: true;
  modes?: Modes;
  exit?: number;
}

/** A command on a terminal of its own. */
export class Pty {
  readonly output = new Transcript();
  readonly errors = new Transcript();
  readonly states = new Transcript();
  readonly exited: Promise<{ code: number; modes: Modes | undefined }>;
  readonly #child: ChildProcess;
  #modes: ((modes: Modes) => void)[] = [];

  constructor(t: ExecutionContext, command: readonly string[], environment: Record<string, string> = {}) {
    const child = spawn('python3', [join(HERE, 'pty.py'), ...command], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    this.#child = child;
    // Who drives the terminal kills the command when its own input ends.
    t.teardown(() => child.stdin.destroy());
    child.stdin.on('error', () => {});
    child.stderr.on('data', (data: Buffer) => this.errors.add(data.toString()));
    this.exited = new Promise((resolve, reject) => {
      let rest = '';
      child.stdout.on('data', (data: Buffer) => {
        const lines = (rest + data.toString()).split('\n');
        rest = lines.pop()!;
        for (const line of lines) {
          const event = JSON.parse(line) as PtyEvent;
          if (event.exit !== undefined) resolve({ code: event.exit, modes: event.modes });
          else this.#take(event);
        }
      });
      child.on('error', reject);
      child.on('close', () => reject(new Error(`the terminal's driver ended: ${this.errors.text}`)));
    });
    this.exited.catch(() => {});
  }

  send(data: string | Uint8Array): void {
    this.#tell({ send: Buffer.from(data).toString('base64') });
  }

  signal(name: NodeJS.Signals): void {
    this.#tell({ signal: name });
  }

  resize(rows: number, columns: number): void {
    this.#tell({ size: [rows, columns] });
  }

  /** Sets the terminal as a shell does for itself. */
  cook(): void {
    this.#tell({ cook: true });
  }

  /** The user closes the window. */
  hangUp(): void {
    this.#tell({ hangup: true });
  }

  /** Whether the user looks at the screen: otherwise output piles up in the terminal. */
  set reading(reading: boolean) {
    this.#tell({ reading });
  }

  modes(): Promise<Modes> {
    this.#tell({ modes: true });
    return new Promise((resolve) => this.#modes.push(resolve));
  }

  /** Resolves when the terminal is set so. */
  async untilModes(wanted: Modes): Promise<Modes> {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const modes = await this.modes();
      if (JSON.stringify(modes) === JSON.stringify(wanted) || Date.now() > deadline) return modes;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  #tell(command: object): void {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
  }

  #take(event: PtyEvent): void {
    if (event.output !== undefined) this.output.add(Buffer.from(event.output, 'base64').toString('latin1'));
    if (event.stopped) this.states.add('stopped ');
    if (event.continued) this.states.add('continued ');
    if (event.modes !== undefined) this.#modes.shift()?.(event.modes);
  }
}
