import type { BusDevice, InterruptLine } from './bus.ts';
import { CTRL_ALT_DEL, Keyboard } from './keyboard.ts';

/** Controller commands, written to port 0x64, by the names of Linux's include/linux/i8042.h where it has them. */
const I8042_CMD_CTL_RCTR = 0x20;
const I8042_CMD_CTL_WCTR = 0x60;
const I8042_CMD_AUX_DISABLE = 0xa7;
const I8042_CMD_AUX_ENABLE = 0xa8;
const I8042_CMD_AUX_TEST = 0xa9;
const I8042_CMD_CTL_TEST = 0xaa;
const I8042_CMD_KBD_TEST = 0xab;
const I8042_CMD_KBD_DISABLE = 0xad;
const I8042_CMD_KBD_ENABLE = 0xae;
const CMD_READ_INPUT_PORT = 0xc0;
const CMD_READ_OUTPUT_PORT = 0xd0;
const CMD_WRITE_OUTPUT_PORT = 0xd1;
const I8042_CMD_KBD_LOOP = 0xd2;
const I8042_CMD_AUX_LOOP = 0xd3;
const I8042_CMD_AUX_SEND = 0xd4;
/** 0xf0 to 0xff pulse the lines of the output port whose bit is clear; bit 0 is the CPU's reset. */
const CMD_PULSE = 0xf0;

/** Status register. */
const I8042_STR_OBF = 0x01;
const STR_SYSTEM = 0x04;
const I8042_STR_CMDDAT = 0x08;
const I8042_STR_KEYLOCK = 0x10;

/** Controller command byte. */
const I8042_CTR_KBDINT = 0x01;
const CTR_SYSTEM = 0x04;
const I8042_CTR_KBDDIS = 0x10;
const I8042_CTR_AUXDIS = 0x20;
const I8042_CTR_XLATE = 0x40;

/** Answers to the two self tests. */
const CONTROLLER_TEST_PASSED = 0x55;
const INTERFACE_TEST_PASSED = 0x00;
/** «Clock line stuck low»: there is nothing at the auxiliary port. */
const AUX_CLOCK_STUCK = 0x01;

/** Output port: bit 0 is the CPU's reset line (low resets), bit 1 the A20 gate. */
const OUTPUT_RESET = 0x01;
const OUTPUT_IDLE = 0x03;

export interface I8042Metrics {
  /** Reads of either port. */
  readCount: number;
  /** Writes to either port. */
  writeCount: number;
  /** Resets that the guest asked for. */
  resetCount: number;
}

/**
 * The PS/2 keyboard controller with a keyboard and no mouse: what firmware leaves behind, and what Linux's i8042 and atkbd drivers
 * ask for when they look for it. Two byte-wide ports, each a bus device of its own.
 *
 * It answers at once, so `IBF` is never set. Interrupts are edges on IRQ 1, one for each byte that becomes readable: Linux's
 * handler takes one byte an interrupt.
 */
export class I8042 {
  readonly metrics: I8042Metrics = { readCount: 0, writeCount: 0, resetCount: 0 };
  /** Port 0x60. */
  readonly data: BusDevice;
  /** Port 0x64. */
  readonly command: BusDevice;
  readonly #interrupt: InterruptLine;
  readonly #onReset: () => void;
  readonly #keyboard = new Keyboard();
  /** The command byte as firmware sets it up: keyboard on, with interrupt and scan codes translated to set 1. */
  #control = I8042_CTR_KBDINT | CTR_SYSTEM | I8042_CTR_AUXDIS | I8042_CTR_XLATE;
  /** The command that waits for its byte at port 0x60, or 0. */
  #pending = 0;
  #lastWasCommand = false;
  #outputPort = OUTPUT_IDLE;
  /**
   * What is at port 0x60 (`OBF`), or -1: the controller's own answer, else a byte of the keyboard. An answer replaces one that
   * was not fetched: Linux leaves that of `AUX_LOOP` there when it lacks the mark of the mouse.
   */
  #answer = -1;
  #key = -1;
  /** What port 0x60 reads when there is nothing new. */
  #stale = 0;

  /**
   * @param interrupt IRQ 1
   * @param onReset the guest pulsed the reset line; may come more than once
   */
  constructor(interrupt: InterruptLine, onReset: () => void) {
    this.#interrupt = interrupt;
    this.#onReset = onReset;
    this.data = { read: () => this.#readData(), write: (_offset, _size, value) => this.#writeData(value) };
    this.command = { read: () => this.#readStatus(), write: (_offset, _size, value) => this.#writeCommand(value) };
  }

  /**
   * Presses and releases Ctrl, Alt and Del (Firecracker's `SendCtrlAltDel`).
   * @returns whether the guest has a keyboard driver that listens; otherwise nothing was typed
   */
  sendCtrlAltDel(): boolean {
    const listening = (this.#control & (I8042_CTR_KBDINT | I8042_CTR_KBDDIS)) === I8042_CTR_KBDINT;
    if (!listening || !this.#keyboard.type(CTRL_ALT_DEL)) return false;
    this.#fetchKey();
    return true;
  }

  get #full(): boolean {
    return this.#answer >= 0 || this.#key >= 0;
  }

  #readStatus(): number {
    this.metrics.readCount++;
    let status = I8042_STR_KEYLOCK;
    if ((this.#control & CTR_SYSTEM) !== 0) status |= STR_SYSTEM;
    if (this.#full) status |= I8042_STR_OBF;
    if (this.#lastWasCommand) status |= I8042_STR_CMDDAT;
    return status;
  }

  #readData(): number {
    this.metrics.readCount++;
    if (this.#answer >= 0) {
      this.#stale = this.#answer;
      this.#answer = -1;
      if (this.#key >= 0) this.#interruptForData();
    } else if (this.#key >= 0) {
      this.#stale = this.#key;
      this.#key = -1;
    }
    this.#fetchKey();
    return this.#stale;
  }

  #writeData(value: number): void {
    this.metrics.writeCount++;
    this.#lastWasCommand = false;
    const command = this.#pending;
    this.#pending = 0;
    switch (command) {
      case 0:
        // A byte for the keyboard also switches its clock on again.
        this.#control &= ~I8042_CTR_KBDDIS;
        this.#keyboard.write(value);
        this.#fetchKey();
        break;
      case I8042_CMD_CTL_WCTR:
        this.#control = value;
        if (this.#full) this.#interruptForData();
        else this.#fetchKey();
        break;
      case CMD_WRITE_OUTPUT_PORT:
        this.#outputPort = value;
        if ((value & OUTPUT_RESET) === 0) this.#reset();
        break;
      case I8042_CMD_KBD_LOOP:
      case I8042_CMD_AUX_LOOP:
        // The byte comes back, but never marked as the mouse's: that tells Linux that there is no auxiliary port.
        this.#reply(value);
        break;
      default: // AUX_SEND: nobody is there
        break;
    }
  }

  #writeCommand(command: number): void {
    this.metrics.writeCount++;
    this.#lastWasCommand = true;
    this.#pending = 0;
    if (command >= CMD_PULSE) {
      if ((command & OUTPUT_RESET) === 0) this.#reset();
      return;
    }
    switch (command) {
      case I8042_CMD_CTL_RCTR:
        this.#reply(this.#control);
        break;
      case I8042_CMD_CTL_WCTR:
      case CMD_WRITE_OUTPUT_PORT:
      case I8042_CMD_KBD_LOOP:
      case I8042_CMD_AUX_LOOP:
      case I8042_CMD_AUX_SEND:
        this.#pending = command;
        break;
      case I8042_CMD_AUX_DISABLE:
        this.#control |= I8042_CTR_AUXDIS;
        break;
      case I8042_CMD_AUX_ENABLE:
        this.#control &= ~I8042_CTR_AUXDIS;
        break;
      case I8042_CMD_AUX_TEST:
        this.#reply(AUX_CLOCK_STUCK);
        break;
      case I8042_CMD_CTL_TEST:
        this.#control |= CTR_SYSTEM;
        this.#reply(CONTROLLER_TEST_PASSED);
        break;
      case I8042_CMD_KBD_TEST:
        this.#reply(INTERFACE_TEST_PASSED);
        break;
      case I8042_CMD_KBD_DISABLE:
        this.#control |= I8042_CTR_KBDDIS;
        break;
      case I8042_CMD_KBD_ENABLE:
        this.#control &= ~I8042_CTR_KBDDIS;
        this.#fetchKey();
        break;
      case CMD_READ_INPUT_PORT:
        // Bit 7: the keyboard is not locked.
        this.#reply(0x80);
        break;
      case CMD_READ_OUTPUT_PORT:
        this.#reply(this.#outputPort);
        break;
      default:
        break;
    }
  }

  #reply(value: number): void {
    this.#answer = value;
    this.#interruptForData();
  }

  /** Puts the keyboard's next byte at port 0x60 when the place is free and its clock runs. */
  #fetchKey(): void {
    if (this.#full || (this.#control & I8042_CTR_KBDDIS) !== 0) return;
    this.#key = this.#keyboard.read((this.#control & I8042_CTR_XLATE) !== 0);
    if (this.#key >= 0) this.#interruptForData();
  }

  #interruptForData(): void {
    if ((this.#control & (I8042_CTR_KBDINT | I8042_CTR_KBDDIS)) === I8042_CTR_KBDINT) this.#interrupt.trigger();
  }

  #reset(): void {
    this.metrics.resetCount++;
    this.#onReset();
  }
}
