import type { ByteRing } from './byte-ring.ts';

/** What the user can ask of mvm itself, while everything else that is typed goes to the guest. */
export interface EscapeActions {
  leave(): void;
  help(): void;
  sendBreak(): void;
  sendCtrlAltDel(): void;
}

/** Ctrl-A. */
const ESCAPE = 0x01;

export const ESCAPE_HELP = [
  'Ctrl-A x   end the guest',
  'Ctrl-A b   send a break (Linux takes the next key as a SysRq command)',
  'Ctrl-A d   press Ctrl-Alt-Del (Linux reboots, which ends the guest)',
  'Ctrl-A a   send Ctrl-A to the guest (also Ctrl-A Ctrl-A)',
  'Ctrl-A h   this help',
] as const;

/**
 * Looks for `Ctrl-A` in what is typed, the prefix of QEMU's and kvmtool's consoles. A key that means nothing after it is sent on together with
 * it, so that nothing typed is lost.
 */
export class EscapeFilter {
  readonly #actions: EscapeActions;
  #escaped = false;

  constructor(actions: EscapeActions) {
    this.#actions = actions;
  }

  /** Moves `count` bytes to `ring`, which has room for one more than that. */
  pass(bytes: Uint8Array, count: number, ring: ByteRing): void {
    for (let i = 0; i < count; i++) {
      const byte = bytes[i]!;
      if (this.#escaped) {
        this.#escaped = false;
        this.#command(byte, ring);
      } else if (byte === ESCAPE) {
        this.#escaped = true;
      } else {
        ring.push(byte);
      }
    }
  }

  #command(byte: number, ring: ByteRing): void {
    switch (byte) {
      case ESCAPE:
      case 0x61: // a
        ring.push(ESCAPE);
        break;
      case 0x62: // b
        this.#actions.sendBreak();
        break;
      case 0x64: // d
        this.#actions.sendCtrlAltDel();
        break;
      case 0x68: // h
      case 0x3f: // ?
        this.#actions.help();
        break;
      case 0x78: // x
        this.#actions.leave();
        break;
      default:
        ring.push(ESCAPE);
        ring.push(byte);
        break;
    }
  }
}
