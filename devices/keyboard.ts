/** A key of the keyboard in both scan code sets that matter: 2 is what the keyboard sends, 1 what the controller makes of it. */
interface Key {
  /** Whether both sets put 0xe0 before the code. */
  readonly extended: boolean;
  readonly set1: number;
  readonly set2: number;
}

const LEFT_CTRL: Key = { extended: false, set1: 0x1d, set2: 0x14 };
const LEFT_ALT: Key = { extended: false, set1: 0x38, set2: 0x11 };
const DELETE: Key = { extended: true, set1: 0x53, set2: 0x71 };

/** Keys that are pressed one after the other and released in the reverse order. */
export const CTRL_ALT_DEL: readonly Key[] = [LEFT_CTRL, LEFT_ALT, DELETE];

const EXTENDED = 0xe0;
/** Set 1 marks a release in the code itself, set 2 by this byte before it. */
const SET1_RELEASE = 0x80;
const SET2_RELEASE = 0xf0;

/** Answers of the keyboard (Linux: include/linux/libps2.h). */
const PS2_RET_ACK = 0xfa;
const PS2_RET_NAK = 0xfe;
const PS2_RET_BAT = 0xaa;
const ECHO = 0xee;
/** What an AT keyboard says it is; and that through a translating controller, which takes it for scan codes. */
const ID = [0xab, 0x83] as const;
const TRANSLATED_ID = [0xab, 0x41] as const;

/** Commands (Linux: drivers/input/keyboard/atkbd.c). */
const ATKBD_CMD_SETLEDS = 0xed;
const CMD_ECHO = 0xee;
const ATKBD_CMD_SSCANSET = 0xf0;
const ATKBD_CMD_GETID = 0xf2;
const ATKBD_CMD_SETREP = 0xf3;
const ATKBD_CMD_ENABLE = 0xf4;
const ATKBD_CMD_RESET_DIS = 0xf5;
const CMD_SET_DEFAULT = 0xf6;
const CMD_SET_ALL_FIRST = 0xf7;
const ATKBD_CMD_SETALL_MBR = 0xfa;
const CMD_RESEND = 0xfe;
const ATKBD_CMD_RESET_BAT = 0xff;

/** A keyboard's own buffer; Ctrl-Alt-Del takes 12 entries of it in set 2. */
const QUEUE_SIZE = 32;
/** An entry that is a scan code: set 1 and set 2 in one number. Answers to commands are the same in both. */
const SCAN = 0x1_0000;

/** The AT keyboard behind the i8042: commands and their answers, and keys that mvm presses. Allocates nothing. */
export class Keyboard {
  readonly #queue = new Uint32Array(QUEUE_SIZE);
  #head = 0;
  #count = 0;
  /** The command whose parameter comes next, or 0. */
  #pending = 0;
  #scanning = true;
  #scanSet = 2;
  #last = 0;

  /** A byte from the guest: a command or its parameter. */
  write(byte: number): void {
    const command = this.#pending;
    this.#pending = 0;
    if (command !== 0 && byte < ATKBD_CMD_SETLEDS) this.#parameter(command, byte);
    else this.#command(byte);
  }

  /** The next byte for the guest, in scan code set 1 where the controller translates; -1 where there is none. */
  read(translate: boolean): number {
    while (this.#count > 0) {
      const entry = this.#queue[this.#head]!;
      this.#head = (this.#head + 1) % QUEUE_SIZE;
      this.#count--;
      const byte = (entry & SCAN) === 0 || !translate ? entry & 0xff : (entry >> 8) & 0xff;
      // Set 1 has no byte of its own for the release prefix.
      if ((entry & SCAN) !== 0 && translate && byte === 0) continue;
      this.#last = byte;
      return byte;
    }
    return -1;
  }

  /** Presses and releases keys. @returns false, and nothing is typed, where the guest has them off or does not keep up */
  type(keys: readonly Key[]): boolean {
    if (!this.#scanning || this.#count + 5 * keys.length > QUEUE_SIZE) return false;
    for (const key of keys) {
      if (key.extended) this.#scan(EXTENDED, EXTENDED);
      this.#scan(key.set1, key.set2);
    }
    for (const key of keys.toReversed()) {
      if (key.extended) this.#scan(EXTENDED, EXTENDED);
      this.#scan(0, SET2_RELEASE);
      this.#scan(key.set1 | SET1_RELEASE, key.set2);
    }
    return true;
  }

  #command(byte: number): void {
    switch (byte) {
      case CMD_ECHO:
        this.#answer(ECHO);
        break;
      case ATKBD_CMD_SETLEDS:
      case ATKBD_CMD_SSCANSET:
      case ATKBD_CMD_SETREP:
        this.#pending = byte;
        this.#answer(PS2_RET_ACK);
        break;
      case ATKBD_CMD_GETID:
        this.#answer(PS2_RET_ACK);
        this.#push(SCAN | (TRANSLATED_ID[0] << 8) | ID[0]);
        this.#push(SCAN | (TRANSLATED_ID[1] << 8) | ID[1]);
        break;
      case ATKBD_CMD_ENABLE:
        this.#scanning = true;
        this.#answer(PS2_RET_ACK);
        break;
      case ATKBD_CMD_RESET_DIS:
        this.#scanning = false;
        this.#scanSet = 2;
        this.#answer(PS2_RET_ACK);
        break;
      case CMD_SET_DEFAULT:
        this.#scanSet = 2;
        this.#answer(PS2_RET_ACK);
        break;
      case CMD_RESEND:
        this.#answer(this.#last);
        break;
      case ATKBD_CMD_RESET_BAT:
        this.#count = 0;
        this.#scanning = true;
        this.#scanSet = 2;
        this.#answer(PS2_RET_ACK);
        this.#answer(PS2_RET_BAT);
        break;
      default:
        // 0xf7 to 0xfa set every key's kind, which says nothing in set 2.
        this.#answer(byte >= CMD_SET_ALL_FIRST && byte <= ATKBD_CMD_SETALL_MBR ? PS2_RET_ACK : PS2_RET_NAK);
        break;
    }
  }

  #parameter(command: number, byte: number): void {
    if (command !== ATKBD_CMD_SSCANSET) {
      this.#answer(PS2_RET_ACK);
    } else if (byte === 0) {
      this.#answer(PS2_RET_ACK);
      this.#answer(this.#scanSet);
    } else if (byte === 2) {
      this.#scanSet = byte;
      this.#answer(PS2_RET_ACK);
    } else {
      // Sets 1 and 3 are not there, as in many keyboards; Linux then goes on in set 2.
      this.#answer(PS2_RET_NAK);
    }
  }

  #scan(set1: number, set2: number): void {
    this.#push(SCAN | (set1 << 8) | set2);
  }

  #answer(byte: number): void {
    this.#push(byte);
  }

  /** A guest that never reads loses what comes later, as with a real keyboard. */
  #push(entry: number): void {
    if (this.#count === QUEUE_SIZE) return;
    this.#queue[(this.#head + this.#count) % QUEUE_SIZE] = entry;
    this.#count++;
  }
}
