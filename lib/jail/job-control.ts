import { tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { SYS } from './syscalls.ts';

/** waitid(2). */
const P_PID = 1;
const WNOHANG = 1;
const WSTOPPED = 2;
const SIGINFO_SIZE = 128;
const SI_PID = 16;

/**
 * Lets a shell stop the virtual machine and bring it back, as it does with any program.
 *
 * Asked to stop (SIGTSTP, which a terminal sends to both halves), the mvm in the jail gives the terminal back and stops, and then so do we: that is
 * what the shell waits for. Where it is the first process of its namespace, no signal stops it but one from outside: it says that it is ready.
 */
export class JobControl {
  readonly #pid: number;
  readonly #ask = (): void => this.#signal('SIGTSTP');
  readonly #continue = (): void => this.#signal('SIGCONT');
  readonly #follow = (): void => {
    if (this.#hasStopped()) stopOurselves();
  };

  /**
   * @param pid the mvm in the jail
   * @param isFirst whether it is the first process of a namespace
   */
  constructor(pid: number, isFirst: boolean) {
    this.#pid = pid;
    process.on('SIGTSTP', this.#ask);
    process.on('SIGCONT', this.#continue);
    if (!isFirst) process.on('SIGCHLD', this.#follow);
  }

  /** The mvm in the jail is ready to be stopped. */
  stop(): void {
    this.#signal('SIGSTOP');
    stopOurselves();
  }

  close(): void {
    process.removeListener('SIGTSTP', this.#ask);
    process.removeListener('SIGCONT', this.#continue);
    process.removeListener('SIGCHLD', this.#follow);
  }

  #hasStopped(): boolean {
    const info = new NativeBuffer(SIGINFO_SIZE);
    const result = tryCall('syscall', SYS.waitid, P_PID, this.#pid, info.address, WSTOPPED | WNOHANG, 0, 0);
    const pid = info.view.getInt32(SI_PID, true);
    info.release();
    return result === 0 && pid === this.#pid;
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
