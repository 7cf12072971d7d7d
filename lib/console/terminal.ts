import { TerminalModes, type TerminalSize, type TerminalState } from './termios.ts';

/** Signals that end a process which does nothing about them. */
const FATAL_SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const;
type FatalSignal = (typeof FATAL_SIGNALS)[number];

/**
 * The terminal that the user types at: raw while we are in its foreground, and as it was found on every way out.
 *
 * Ways out: `close`; the end of the process, by whatever path Node takes to it; an uncaught exception (before its trace is printed); a fatal
 * signal that nobody else handles; being stopped (SIGTSTP). (Node itself puts back at its end what it found at its start; we do so
 * earlier, before anything else is printed.) After SIGCONT it becomes raw again. SIGKILL and SIGSTOP leave
 * no chance, as with any program.
 */
export class Terminal {
  readonly #modes: TerminalModes;
  /** Node asks the kernel each time, which it may not when the guest runs. */
  readonly #pid = process.pid;
  #raw = false;
  #closed = false;
  #onResize: (size: TerminalSize) => void = () => {};
  #onContinue: () => void = () => {};
  readonly #restore = (): void => this.#leaveRaw();
  readonly #stop = (): void => {
    this.#leaveRaw();
    process.kill(this.#pid, 'SIGSTOP');
  };
  readonly #continue = (): void => {
    // SIGSTOP gave us no chance to restore it: the shell has set it for itself meanwhile.
    if (this.claim() && this.#raw) this.#modes.repeatRaw();
    this.#resized();
    this.#onContinue();
  };
  readonly #resized = (): void => {
    const { size } = this;
    if (size !== undefined) this.#onResize(size);
  };
  readonly #die = (signal: NodeJS.Signals): void => {
    // Somebody who handles the signal ends us in an orderly way, and `exit` restores the terminal.
    if (process.listenerCount(signal) > 1) return;
    this.#leaveRaw();
    process.removeListener(signal, this.#die);
    process.kill(this.#pid, signal);
  };

  /** @param fd refers to a terminal */
  constructor(fd: number) {
    this.#modes = new TerminalModes(fd);
    process.on('exit', this.#restore);
    process.on('uncaughtExceptionMonitor', this.#restore);
    for (const signal of FATAL_SIGNALS) process.on(signal satisfies FatalSignal, this.#die);
    process.on('SIGTSTP', this.#stop);
    process.on('SIGCONT', this.#continue);
    process.on('SIGWINCH', this.#resized);
  }

  /** Whether it is raw just now: then a line ends only with CR and LF. */
  get raw(): boolean {
    return this.#raw;
  }

  get state(): TerminalState {
    return this.#modes.state;
  }

  get size(): TerminalSize | undefined {
    return this.#modes.size;
  }

  /** Makes the terminal raw if we are in its foreground. @returns whether we are */
  claim(): boolean {
    if (this.#closed || !this.#modes.foreground) return false;
    this.#raw ||= this.#modes.setRaw();
    return true;
  }

  /** Registers the one listener for changes of the size. */
  onResize(listener: (size: TerminalSize) => void): void {
    this.#onResize = listener;
  }

  /** Registers the one listener for our being continued (SIGCONT), perhaps in the foreground. */
  onContinue(listener: () => void): void {
    this.#onContinue = listener;
  }

  /** Restores the terminal and forgets about it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#leaveRaw();
    process.removeListener('exit', this.#restore);
    process.removeListener('uncaughtExceptionMonitor', this.#restore);
    for (const signal of FATAL_SIGNALS) process.removeListener(signal, this.#die);
    process.removeListener('SIGTSTP', this.#stop);
    process.removeListener('SIGCONT', this.#continue);
    process.removeListener('SIGWINCH', this.#resized);
    this.#modes.release();
  }

  #leaveRaw(): void {
    if (!this.#raw) return;
    // In the background the settings are the shell's, and changing them would stop us (SIGTTOU).
    if (this.#modes.foreground) this.#modes.restore();
    this.#raw = false;
  }
}
