import type { MvmError } from '../errors.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import { ConsoleInput } from './console-input.ts';
import { ConsoleOutput } from './console-output.ts';
import { closeDescriptor, type Descriptor, openOutput, openStandard, STDIN, STDOUT } from './descriptor.ts';
import { ESCAPE_HELP, EscapeFilter } from './escape.ts';
import { Terminal } from './terminal.ts';
import type { TerminalSize, TerminalState } from './termios.ts';

/** What the console asks of the machine. */
export interface ConsoleEvents {
  /** The user typed `Ctrl-A x`. */
  leave(): void;
  /** The user typed `Ctrl-A b`. */
  sendBreak(): void;
  /** The user typed `Ctrl-A d`. */
  sendCtrlAltDel(): void;
  /** The output failed: its reader is gone, the disk is full. Told once. */
  failed(error: MvmError): void;
}

/** The host's end of the guest's console. */
export class HostConsole {
  readonly output: ConsoleOutput;
  readonly input: ConsoleInput | undefined;
  /** The terminal that the user types at, if it is one. */
  readonly #terminal: Terminal | undefined;
  readonly #descriptors: readonly Descriptor[];

  private constructor(
    output: ConsoleOutput,
    input: ConsoleInput | undefined,
    terminal: Terminal | undefined,
    descriptors: readonly Descriptor[],
  ) {
    this.output = output;
    this.input = input;
    this.#terminal = terminal;
    this.#descriptors = descriptors;
    terminal?.onContinue(() => input?.recheck());
  }

  /** Standard output and input. Nothing is read, and a terminal not touched, before `start`. */
  static standard(loop: EventLoop, events: ConsoleEvents): HostConsole {
    const stdout = openStandard(STDOUT);
    const stdin = openStandard(STDIN);
    const output = new ConsoleOutput(loop, stdout, events.failed);
    if (stdin.kind !== 'terminal') {
      return new HostConsole(output, new ConsoleInput(loop, stdin), undefined, [stdout, stdin]);
    }
    const terminal = new Terminal(stdin.fd);
    const screen = stdout.kind === 'terminal' ? output : new ConsoleOutput(loop, stdin, () => {});
    const help = Buffer.from(
      ESCAPE_HELP.map((line) => `\r\n${line}`)
        .join('')
        .concat('\r\n'),
    );
    const filter = new EscapeFilter({
      leave: events.leave,
      sendBreak: events.sendBreak,
      sendCtrlAltDel: events.sendCtrlAltDel,
      help: () => screen.write(help, 0, help.length),
    });
    const input = new ConsoleInput(loop, stdin, { filter, mayRead: () => terminal.claim() });
    return new HostConsole(output, input, terminal, [stdout, stdin]);
  }

  /**
   * A file, named pipe or terminal at `path` for output; there is no input.
   * @throws ConfigError where it cannot be opened
   */
  static file(loop: EventLoop, path: string, events: Pick<ConsoleEvents, 'failed'>): HostConsole {
    const descriptor = openOutput(path);
    return new HostConsole(new ConsoleOutput(loop, descriptor, events.failed), undefined, undefined, [descriptor]);
  }

  /** Whether the user's terminal is raw just now: who writes to it must end lines with CR and LF. */
  get raw(): boolean {
    return this.#terminal?.raw ?? false;
  }

  /** Whether the user types at a terminal. */
  get isTerminal(): boolean {
    return this.#terminal !== undefined;
  }

  /** Where the user's terminal was found how, for who puts it back in an emergency. */
  get terminalState(): TerminalState | undefined {
    return this.#terminal?.state;
  }

  /** Size of the user's terminal, where there is one and it knows it. */
  get size(): TerminalSize | undefined {
    return this.#terminal?.size;
  }

  /** Registers the one listener for changes of the terminal's size. */
  onResize(listener: (size: TerminalSize) => void): void {
    this.#terminal?.onResize(listener);
  }

  /** Makes the terminal raw (in its foreground) and begins to read. */
  start(): void {
    this.#terminal?.claim();
    this.input?.start();
  }

  /** Resolves when all that the guest printed has been written out, or the output has failed. The loop must run. */
  drain(): Promise<void> {
    return this.output.drain();
  }

  /** Gives the terminal back and ends the console. */
  close(): void {
    this.input?.close();
    this.output.close();
    this.#terminal?.close();
    for (const descriptor of this.#descriptors) closeDescriptor(descriptor);
  }
}
