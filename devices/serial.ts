import type { AccessSize, BusDevice, InterruptLine } from './bus.ts';
import type { InputSource, OutputSink } from './byte-stream.ts';
import * as uart from './serial-registers.ts';

/** Bytes of either FIFO. */
export const SERIAL_FIFO_SIZE = 16;

/** Bytes in the receive FIFO that raise «data available», by bits 7:6 of `FCR`. */
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;

/** What a modem says that is there and ready; nobody rings. */
const CONNECTED = uart.UART_MSR_CTS | uart.UART_MSR_DSR | uart.UART_MSR_DCD;

/**
 * So many reads of `LSR` in a row, with nothing to wait for but input, are a guest that polls for it. Drivers that print poll too,
 * but stop at the first `THRE`.
 */
const POLLS_FOR_INPUT = 16;

/** Firecracker's `uart` metrics. */
export interface SerialMetrics {
  /** Bytes that the guest received. */
  readCount: number;
  /** Bytes that the guest sent. */
  writeCount: number;
  /** Interrupts raised. */
  interruptCount: number;
}

/**
 * A 16550A UART on ISA: 8 ports, byte accesses (put it on the bus with width 1).
 *
 * As the guest sees it the line is infinitely fast: what is sent leaves at once, unless the sink is congested, and then `THRE` stays
 * clear until it drains. The receive FIFO is the front of the source's queue; so nothing that was not read can be lost, not even
 * by clearing the FIFO (the same bytes arrive again).
 *
 * The interrupt output is an edge. It is not gated by `OUT2`, which PCs wire so, but no virtual machine does. Where the guest makes
 * the next interrupt itself, by sending or by taking one byte of many, a real line is slow to follow: the edge is held back until
 * `settle`, and never comes if the driver looks again first, as Linux's does. That saves an interrupt each time.
 */
export class Serial implements BusDevice {
  readonly metrics: SerialMetrics = { readCount: 0, writeCount: 0, interruptCount: 0 };
  readonly #interrupt: InterruptLine;
  readonly #sink: OutputSink;
  readonly #source: InputSource;
  #ier = 0;
  #lcr = 0;
  #mcr = 0;
  #scr = 0;
  /** The divisor of 9600 baud, the power-on habit of PCs. */
  #dll = 12;
  #dlm = 0;
  #fifoEnabled = false;
  #trigger = 1;
  /** `OE`: cleared by reading `LSR`. */
  #overrun = false;
  /** A break has come: `BI` until `LSR` is read, and a zero byte until it is taken. */
  #breakSeen = false;
  #breakByte = false;
  #msrDelta = 0;
  /** «Transmitter empty» has come and was not looked at. */
  #thrPending = false;
  #congested = false;
  #polls = 0;
  #polling = false;
  /** The interrupt output is high, and the guest was told. */
  #announced = false;
  /** The interrupt output is high, and the guest will be told by `settle`. */
  #owed = false;
  /** The receive FIFO while in loopback mode. */
  readonly #loop = new Uint8Array(SERIAL_FIFO_SIZE);
  #loopHead = 0;
  #loopCount = 0;

  constructor(interrupt: InterruptLine, sink: OutputSink, source: InputSource) {
    this.#interrupt = interrupt;
    this.#sink = sink;
    this.#source = source;
    sink.onDrain(() => {
      this.#congested = false;
      this.#thrPending = true;
      this.#update();
    });
    source.onReadable(() => this.#update());
  }

  /** Raises the interrupt that was held back. To be called before the event loop sleeps, and often enough while it is busy. */
  settle(): void {
    if (!this.#owed) return;
    this.#owed = false;
    this.#raise();
  }

  /** Sends the guest a break (Linux: the next key is a SysRq command). */
  sendBreak(): void {
    this.#breakSeen = true;
    this.#breakByte = true;
    this.#update();
  }

  read(offset: number, _size: AccessSize): number {
    if (offset !== uart.UART_LSR) this.#polls = 0;
    switch (offset) {
      case uart.UART_RX:
        return (this.#lcr & uart.UART_LCR_DLAB) === 0 ? this.#receive() : this.#dll;
      case uart.UART_IER:
        return (this.#lcr & uart.UART_LCR_DLAB) === 0 ? this.#ier : this.#dlm;
      case uart.UART_IIR:
        return this.#identify();
      case uart.UART_LCR:
        return this.#lcr;
      case uart.UART_MCR:
        return this.#mcr;
      case uart.UART_LSR:
        return this.#lineStatus();
      case uart.UART_MSR:
        return this.#modemStatus();
      default:
        return this.#scr;
    }
  }

  write(offset: number, _size: AccessSize, value: number): void {
    this.#polls = 0;
    switch (offset) {
      case uart.UART_TX:
        if ((this.#lcr & uart.UART_LCR_DLAB) === 0) this.#send(value);
        else this.#dll = value;
        break;
      case uart.UART_IER:
        if ((this.#lcr & uart.UART_LCR_DLAB) === 0) this.#enable(value & 0x0f);
        else this.#dlm = value;
        break;
      case uart.UART_FCR:
        this.#controlFifo(value);
        break;
      case uart.UART_LCR:
        this.#lcr = value;
        break;
      case uart.UART_MCR:
        this.#controlModem(value & 0x1f);
        break;
      case uart.UART_SCR:
        this.#scr = value;
        break;
      default: // LSR and MSR: writing is for factory tests (PC16550D, section 8.4 and 8.7)
        break;
    }
  }

  /** Bytes in the receive FIFO. */
  get #received(): number {
    if ((this.#mcr & uart.UART_MCR_LOOP) !== 0) return this.#loopCount;
    const waiting = (this.#receiving ? this.#source.available : 0) + (this.#breakByte ? 1 : 0);
    return Math.min(waiting, this.#fifoEnabled ? SERIAL_FIFO_SIZE : 1);
  }

  /**
   * Input waits until the guest shows that it takes it: a driver that starts up clears the FIFO and reads the receive buffer
   * to be rid of stale bytes, which would be the first that were typed or piped in.
   */
  get #receiving(): boolean {
    return (this.#mcr & uart.UART_MCR_RTS) !== 0 || (this.#ier & uart.UART_IER_RDI) !== 0 || this.#polling;
  }

  /** The identification of the most urgent interrupt (PC16550D, table IV). */
  get #cause(): number {
    const ier = this.#ier;
    if ((ier & uart.UART_IER_RLSI) !== 0 && (this.#overrun || this.#breakSeen)) return uart.UART_IIR_RLSI;
    if ((ier & uart.UART_IER_RDI) !== 0) {
      const received = this.#received;
      // Below the trigger level nothing more is to come soon, or it would be here: the time is out.
      if (received > 0) return received >= this.#trigger ? uart.UART_IIR_RDI : uart.UART_IIR_RX_TIMEOUT;
    }
    if ((ier & uart.UART_IER_THRI) !== 0 && this.#thrPending) return uart.UART_IIR_THRI;
    if ((ier & uart.UART_IER_MSI) !== 0 && this.#msrDelta !== 0) return uart.UART_IIR_MSI;
    return uart.UART_IIR_NO_INT;
  }

  /** Follows the interrupt output after a change. @param late a real line would not be there yet: leave it to `settle` */
  #update(late = false): void {
    if (this.#ier === 0 || this.#cause === uart.UART_IIR_NO_INT) {
      this.#announced = false;
      this.#owed = false;
    } else if (late) {
      this.#owed = !this.#announced;
    } else if (!this.#announced && !this.#owed) {
      this.#raise();
    }
  }

  #raise(): void {
    this.#announced = true;
    this.metrics.interruptCount++;
    this.#interrupt.trigger();
  }

  #send(byte: number): void {
    if ((this.#mcr & uart.UART_MCR_LOOP) !== 0) {
      this.#loopBack(byte);
      return;
    }
    this.metrics.writeCount++;
    if (!this.#sink.put(byte)) this.#congested = true;
    this.#thrPending = !this.#congested;
    if ((this.#ier & uart.UART_IER_THRI) !== 0) this.#update(true);
  }

  #loopBack(byte: number): void {
    if (this.#loopCount < (this.#fifoEnabled ? SERIAL_FIFO_SIZE : 1)) {
      this.#loop[(this.#loopHead + this.#loopCount) % SERIAL_FIFO_SIZE] = byte;
      this.#loopCount++;
    } else {
      this.#overrun = true;
    }
    this.#thrPending = true;
    this.#update();
  }

  #receive(): number {
    let byte = 0;
    if ((this.#mcr & uart.UART_MCR_LOOP) !== 0) {
      if (this.#loopCount === 0) return 0;
      byte = this.#loop[this.#loopHead]!;
      this.#loopHead = (this.#loopHead + 1) % SERIAL_FIFO_SIZE;
      this.#loopCount--;
    } else if (this.#breakByte) {
      this.#breakByte = false;
    } else {
      if (!this.#receiving || this.#source.available === 0) return 0;
      byte = this.#source.take();
      this.metrics.readCount++;
    }
    // Each byte that is taken lets the output fall until the next has come, so also a driver that takes one byte an interrupt lives.
    this.#announced = false;
    this.#update(true);
    return byte;
  }

  #identify(): number {
    const cause = this.#cause;
    if (cause === uart.UART_IIR_THRI) {
      this.#thrPending = false;
      this.#update();
    }
    return this.#fifoEnabled ? cause | uart.UART_IIR_FIFO_ENABLED : cause;
  }

  #lineStatus(): number {
    const received = this.#received;
    let status = received > 0 ? uart.UART_LSR_DR : 0;
    const empty = !this.#congested || (this.#mcr & uart.UART_MCR_LOOP) !== 0;
    if (empty) status |= uart.UART_LSR_THRE | uart.UART_LSR_TEMT;
    if (this.#overrun || this.#breakSeen) {
      if (this.#overrun) status |= uart.UART_LSR_OE;
      if (this.#breakSeen) status |= this.#fifoEnabled ? uart.UART_LSR_BI | uart.UART_LSR_FIFOE : uart.UART_LSR_BI;
      this.#overrun = false;
      this.#breakSeen = false;
      this.#update();
    }
    if (empty && !this.#polling && ++this.#polls === POLLS_FOR_INPUT) this.#polling = true;
    return status;
  }

  #modemStatus(): number {
    const status = this.#modemLines(this.#mcr) | this.#msrDelta;
    if (this.#msrDelta !== 0) {
      this.#msrDelta = 0;
      this.#update();
    }
    return status;
  }

  #enable(ier: number): void {
    const changed = ier ^ this.#ier;
    this.#ier = ier;
    this.#polling = false;
    // Not in the data sheet, but drivers rely on it (Linux's UART_BUG_TXEN and UART_BUG_THRE tests): enabling finds THRE again.
    if ((changed & uart.UART_IER_THRI) !== 0) {
      this.#thrPending = (ier & uart.UART_IER_THRI) !== 0 && !this.#congested;
    }
    this.#update();
  }

  #controlFifo(fcr: number): void {
    const enabled = (fcr & uart.UART_FCR_ENABLE_FIFO) !== 0;
    // Switching the FIFOs clears them (PC16550D, section 8.5).
    if (enabled !== this.#fifoEnabled || (fcr & uart.UART_FCR_CLEAR_RCVR) !== 0) this.#clearReceiver();
    this.#fifoEnabled = enabled;
    this.#trigger = enabled ? TRIGGER_LEVELS[(fcr >> 6) as 0 | 1 | 2 | 3] : 1;
    this.#update();
  }

  /** What came from the host stays at the front of its queue; the guest sees it arrive again. */
  #clearReceiver(): void {
    this.#loopCount = 0;
    this.#breakByte = false;
  }

  #controlModem(mcr: number): void {
    const changed = mcr ^ this.#mcr;
    const before = this.#modemLines(this.#mcr);
    const now = this.#modemLines(mcr);
    this.#mcr = mcr;
    this.#polling = false;
    if ((changed & uart.UART_MCR_LOOP) !== 0) this.#loopCount = 0;
    const lines = before ^ now;
    if ((lines & uart.UART_MSR_CTS) !== 0) this.#msrDelta |= uart.UART_MSR_DCTS;
    if ((lines & uart.UART_MSR_DSR) !== 0) this.#msrDelta |= uart.UART_MSR_DDSR;
    if ((lines & before & uart.UART_MSR_RI) !== 0) this.#msrDelta |= uart.UART_MSR_TERI;
    if ((lines & uart.UART_MSR_DCD) !== 0) this.#msrDelta |= uart.UART_MSR_DDCD;
    this.#update();
  }

  /** In loopback mode the four outputs are the four inputs (PC16550D, section 8.6). */
  #modemLines(mcr: number): number {
    if ((mcr & uart.UART_MCR_LOOP) === 0) return CONNECTED;
    return (
      ((mcr & uart.UART_MCR_RTS) !== 0 ? uart.UART_MSR_CTS : 0) |
      ((mcr & uart.UART_MCR_DTR) !== 0 ? uart.UART_MSR_DSR : 0) |
      ((mcr & uart.UART_MCR_OUT1) !== 0 ? uart.UART_MSR_RI : 0) |
      ((mcr & uart.UART_MCR_OUT2) !== 0 ? uart.UART_MSR_DCD : 0)
    );
  }
}
