import { tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { ProcessGroup } from './process-group.ts';

/** glibc's `struct termios` on x86-64 (<bits/termios-struct.h>): four u32 flag words, `c_line`, 32 control characters, two speeds. */
const TERMIOS_SIZE = 60;
const C_IFLAG = 0;
const C_OFLAG = 4;
const C_CFLAG = 8;
const C_LFLAG = 12;
const C_CC = 17;
const VTIME = 5;
const VMIN = 6;

/** <bits/termios-c_iflag.h> and its siblings; the names of termios(3). */
const BRKINT = 0o2;
const IGNBRK = 0o1;
const PARMRK = 0o10;
const ISTRIP = 0o40;
const INLCR = 0o100;
const IGNCR = 0o200;
const ICRNL = 0o400;
const IXON = 0o2000;
const OPOST = 0o1;
const CSIZE = 0o60;
const CS8 = 0o60;
const PARENB = 0o400;
const ISIG = 0o1;
const ICANON = 0o2;
const ECHO = 0o10;
const ECHONL = 0o100;
const IEXTEN = 0o100000;

const TCSANOW = 0;
const TIOCGWINSZ = 0x5413;

/** Size of a terminal in characters. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** A terminal, and the host address of its settings as they were found: a `struct termios`, all zeros before they are known. */
export interface TerminalState {
  readonly fd: number;
  readonly address: number;
}

/** The settings of one terminal: as they were found, and raw. */
export class TerminalModes {
  readonly #fd: number;
  readonly #group = new ProcessGroup();
  readonly #saved = new NativeBuffer(TERMIOS_SIZE);
  readonly #raw = new NativeBuffer(TERMIOS_SIZE);

  constructor(fd: number) {
    this.#fd = fd;
  }

  get state(): TerminalState {
    return { fd: this.#fd, address: this.#saved.address };
  }

  /**
   * Remembers the settings, and passes every key on as it is, unseen by the terminal's line discipline (cfmakeraw(3)).
   * What was typed before stays to be read.
   * @returns whether the terminal took it
   */
  setRaw(): boolean {
    if (tryCall('tcgetattr', this.#fd, this.#saved.address) < 0) return false;
    this.#raw.bytes.set(this.#saved.bytes);
    const { view } = this.#raw;
    const clear = (offset: number, flags: number): void =>
      view.setUint32(offset, view.getUint32(offset, true) & ~flags, true);
    clear(C_IFLAG, IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    clear(C_OFLAG, OPOST);
    clear(C_LFLAG, ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    clear(C_CFLAG, CSIZE | PARENB);
    view.setUint32(C_CFLAG, view.getUint32(C_CFLAG, true) | CS8, true);
    view.setUint8(C_CC + VMIN, 1);
    view.setUint8(C_CC + VTIME, 0);
    return this.repeatRaw();
  }

  /** Sets the raw settings of the last `setRaw` again, after another program changed them behind our back. */
  repeatRaw(): boolean {
    return tryCall('tcsetattr', this.#fd, TCSANOW, this.#raw.address) === 0;
  }

  /** Puts the remembered settings back. */
  restore(): void {
    tryCall('tcsetattr', this.#fd, TCSANOW, this.#saved.address);
  }

  /** Whether our process group is the one that the terminal listens to. Others are stopped when they read it or change it. */
  get foreground(): boolean {
    return this.#group.isForegroundOf(this.#fd);
  }

  /** Undefined where the terminal does not know it. */
  get size(): TerminalSize | undefined {
    const size = new NativeBuffer(8);
    const known = tryCall('ioctl', this.#fd, TIOCGWINSZ, size.address) === 0;
    const rows = size.view.getUint16(0, true);
    const columns = size.view.getUint16(2, true);
    size.release();
    return known && rows > 0 && columns > 0 ? { columns, rows } : undefined;
  }

  release(): void {
    this.#saved.release();
    this.#raw.release();
    this.#group.close();
  }
}
