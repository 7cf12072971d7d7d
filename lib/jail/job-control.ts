/**
 * Lets a shell stop the virtual machine and bring it back, as it does with any program.
 *
 * The mvm in the jail is the first process of its namespace, which no signal stops but one from outside. So it gives the terminal back when it is
 * asked to stop (SIGTSTP, which a terminal sends to both of us), says so, and we stop it, and ourselves: that is what the shell waits for.
 */
export class JobControl {
  readonly #pid: number;
  readonly #isFirst: boolean;
  readonly #ask = (): void => {
    this.#signal('SIGTSTP');
    if (!this.#isFirst) stopOurselves();
  };
  readonly #continue = (): void => this.#signal('SIGCONT');

  /**
   * @param pid the mvm in the jail
   * @param isFirst whether it is the first process of a namespace
   */
  constructor(pid: number, isFirst: boolean) {
    this.#pid = pid;
    this.#isFirst = isFirst;
    process.on('SIGTSTP', this.#ask);
    process.on('SIGCONT', this.#continue);
  }

  /** The mvm in the jail is ready to be stopped. */
  stop(): void {
    this.#signal('SIGSTOP');
    stopOurselves();
  }

  close(): void {
    process.removeListener('SIGTSTP', this.#ask);
    process.removeListener('SIGCONT', this.#continue);
  }

  #signal(signal: NodeJS.Signals): void {
    try {
      process.kill(this.#pid, signal);
    } catch {
      // It has ended, which is noticed elsewhere.
    }
  }
}

function stopOurselves(): void {
  process.kill(process.pid, 'SIGSTOP');
}
