import { openSync } from 'node:fs';
import { EPOLLIN } from '../ffi/constants.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { isPvm } from '../kvm/flavour.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import type { Jail } from '../machine/run.ts';
import { GO, READY, receiveByte, STOP, sendByte } from './channel.ts';
import type { Handover } from './handover.ts';
import { CHANNEL_FD, KEEPER_FD } from './steps.ts';
import { PR_SET_NAME, PR_SET_PDEATHSIG, SIGKILL, SIGTERM, SYS } from './syscalls.ts';

/** Of a namespace of processes. */
const FIRST_PID = 1;
const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;

/** The keeper of the namespaces is gone, and the mvm that started us will say why. */
export class JailAbandoned extends Error {}

/** The jail, as the mvm in it sees it. */
export class JailInside implements Jail {
  readonly #handover: Handover;
  readonly #onSignal: (number: number) => void;
  readonly #nothing: number | undefined;
  readonly #isFirst = process.pid === FIRST_PID;

  /** @param onSignal called with the number of a signal that was sent to the mvm that started us */
  constructor(handover: Handover, onSignal: (number: number) => void) {
    this.#handover = handover;
    this.#onSignal = onSignal;
    // What the host's files tell, while they can be seen.
    isPvm();
    this.#nothing = handover.daemonize ? openSync('/dev/null', 'r+') : undefined;
    if (handover.bindingFd !== undefined) tryCall('close', handover.bindingFd);
    const name = new NativeBuffer(16);
    name.bytes.set(Buffer.from('mvm'));
    tryCall('syscall', SYS.prctl, PR_SET_NAME, name.address, 0, 0, 0, 0);
    name.release();
  }

  enter(): void {
    this.#ask();
  }

  becomeUser(): void {
    if (this.#nothing !== undefined) {
      for (const fd of [STDIN, STDOUT, STDERR])
        call('syscall', 'redirect a stream', SYS.dup3, this.#nothing, fd, 0, 0, 0, 0);
      tryCall('close', this.#nothing);
    }
    const { identity } = this.#handover;
    if (identity === undefined) return;
    // libc does these for all threads, and with the user the capabilities go: capabilities(7).
    const { uid, gid } = identity;
    call('setgroups', 'leave all groups', 0, 0);
    call('setresgid', `become group ${gid}`, gid, gid, gid);
    call('setresuid', `become user ${uid}`, uid, uid, uid);
    // It is forgotten when the user changes.
    tryCall('syscall', SYS.prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
  }

  close(loop: EventLoop): void {
    this.#ask();
    tryCall('close', KEEPER_FD);
    sendByte(CHANNEL_FD, READY);
    for (;;) {
      const byte = receiveByte(CHANNEL_FD);
      if (byte === undefined) throw new JailAbandoned('who started us is gone');
      if (byte === GO) break;
      this.#onSignal(byte);
    }
    if (this.#isFirst) this.#askToBeStopped();
    const watch = loop.watch(CHANNEL_FD, EPOLLIN, () => {
      const byte = receiveByte(CHANNEL_FD);
      if (byte === undefined) watch.close();
      // Who started us is gone, and the kernel ends us too: we only get here where it does not.
      this.#onSignal(byte ?? SIGTERM);
      loop.yieldToNode();
    });
  }

  /** Once a stop: whoever stopped us, and whether it was told to both halves. */
  #askToBeStopped(): void {
    let isAsked = false;
    process.on('SIGTSTP', () => {
      if (!isAsked) sendByte(CHANNEL_FD, STOP);
      isAsked = true;
    });
    process.on('SIGCONT', () => {
      isAsked = false;
    });
  }

  /** Lets the keeper do its next step. */
  #ask(): void {
    if (sendByte(KEEPER_FD, 1) && receiveByte(KEEPER_FD) !== undefined) return;
    throw new JailAbandoned('the keeper of the jail is gone');
  }
}
