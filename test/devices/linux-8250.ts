import * as uart from '../../devices/serial-registers.ts';
import type { SerialBench } from './serial-bench.ts';

const UART_LCR_WLEN8 = 0x03;
const UART_LCR_CONF_MODE_A = 0x80;
const UART_LCR_CONF_MODE_B = 0xbf;
const UART_FCR7_64BYTE = 0x20;
const UART_IER_UUE = 0x40;
const UART_FCR_R_TRIG_10 = 0x80;
const BOTH_EMPTY = uart.UART_LSR_TEMT | uart.UART_LSR_THRE;
/** `serial8250_interrupt` gives up after so many rounds. */
const PASS_LIMIT = 512;

/**
 * What Linux 6.1's 8250 driver does to the port, register by register (drivers/tty/serial/8250/8250_port.c; the names of the methods
 * are those of its functions). `port` is the hardware under test.
 */
export class Linux8250 {
  readonly port: SerialBench;
  /** What it believes to have found. */
  type = 'unknown';
  /** The workarounds that it finds it needs. */
  readonly bugs = new Set<'THRE' | 'TXEN'>();
  /** Characters that user space has written and that have not been sent. */
  readonly transmit: number[] = [];
  readonly received: number[] = [];
  breaks = 0;
  /** Runs of the handler that found nothing to do. */
  spurious = 0;
  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mctrl = 0;
  /** `lsr_saved_flags`: the errors that reading `LSR` cleared before a character was taken. */
  #savedFlags = 0;

  constructor(port: SerialBench) {
    this.port = port;
  }

  autoconfig(): void {
    const { port } = this;
    const ier = port.in(uart.UART_IER);
    port.out(uart.UART_IER, 0);
    const off = port.in(uart.UART_IER) & 0x0f;
    port.out(uart.UART_IER, 0x0f);
    const on = port.in(uart.UART_IER) & 0x0f;
    port.out(uart.UART_IER, ier);
    if (off !== 0 || on !== 0x0f) return;
    const mcr = port.in(uart.UART_MCR);
    const lcr = port.in(uart.UART_LCR);
    port.out(uart.UART_MCR, uart.UART_MCR_LOOP | uart.UART_MCR_OUT2 | uart.UART_MCR_RTS);
    const status = port.in(uart.UART_MSR) & 0xf0;
    port.out(uart.UART_MCR, mcr);
    if (status !== (uart.UART_MSR_DCD | uart.UART_MSR_CTS)) return;
    port.out(uart.UART_LCR, UART_LCR_CONF_MODE_B);
    port.out(uart.UART_FCR, 0);
    port.out(uart.UART_LCR, 0);
    port.out(uart.UART_FCR, uart.UART_FCR_ENABLE_FIFO);
    const fifo = port.in(uart.UART_IIR) >> 6;
    this.type = fifo === 3 ? this.#autoconfig16550a() : ['8250', 'unknown', '16550'][fifo]!;
    port.out(uart.UART_LCR, lcr);
    port.out(uart.UART_MCR, mcr);
    this.#clearFifos();
    port.in(uart.UART_RX);
    port.out(uart.UART_IER, 0);
  }

  #autoconfig16550a(): string {
    const { port } = this;
    port.out(uart.UART_LCR, UART_LCR_CONF_MODE_A);
    if (port.in(uart.UART_IIR) === 0) return '16650';
    port.out(uart.UART_LCR, UART_LCR_CONF_MODE_B);
    if (port.in(uart.UART_IIR) === 0) return '16650V2';
    port.out(uart.UART_LCR, 0);
    const mcr = port.in(uart.UART_MCR);
    port.out(uart.UART_LCR, 0xe0);
    if (((port.in(2) ^ mcr) & uart.UART_MCR_LOOP) === 0) {
      port.out(uart.UART_LCR, 0);
      port.out(uart.UART_MCR, mcr ^ uart.UART_MCR_LOOP);
      port.out(uart.UART_LCR, 0xe0);
      const excr1 = port.in(2);
      port.out(uart.UART_LCR, 0);
      port.out(uart.UART_MCR, mcr);
      if (((excr1 ^ mcr) & uart.UART_MCR_LOOP) !== 0) return 'NS16550A';
    }
    port.out(uart.UART_LCR, 0);
    port.out(uart.UART_FCR, uart.UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
    const status1 = port.in(uart.UART_IIR) >> 5;
    port.out(uart.UART_FCR, uart.UART_FCR_ENABLE_FIFO);
    port.out(uart.UART_LCR, UART_LCR_CONF_MODE_A);
    port.out(uart.UART_FCR, uart.UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
    const status2 = port.in(uart.UART_IIR) >> 5;
    port.out(uart.UART_FCR, uart.UART_FCR_ENABLE_FIFO);
    port.out(uart.UART_LCR, 0);
    if (status1 === 6 && status2 === 7) return '16750';
    const ier = port.in(uart.UART_IER);
    port.out(uart.UART_IER, ier & ~UART_IER_UUE);
    if ((port.in(uart.UART_IER) & UART_IER_UUE) === 0) {
      port.out(uart.UART_IER, ier | UART_IER_UUE);
      if ((port.in(uart.UART_IER) & UART_IER_UUE) !== 0) return 'XScale';
    }
    port.out(uart.UART_IER, ier);
    return this.sizeFifo() === 64 ? 'U6_16550A' : '16550A';
  }

  /** Counts how much the receive FIFO holds, in loopback mode. */
  sizeFifo(): number {
    const { port } = this;
    const lcr = port.in(uart.UART_LCR);
    port.out(uart.UART_LCR, 0);
    const mcr = port.in(uart.UART_MCR);
    port.out(uart.UART_FCR, uart.UART_FCR_ENABLE_FIFO | uart.UART_FCR_CLEAR_RCVR | uart.UART_FCR_CLEAR_XMIT);
    port.out(uart.UART_MCR, uart.UART_MCR_LOOP);
    port.out(uart.UART_LCR, UART_LCR_CONF_MODE_A);
    const divisor = [port.in(uart.UART_DLL), port.in(uart.UART_DLM)] as const;
    this.#writeDivisor(1);
    port.out(uart.UART_LCR, UART_LCR_WLEN8);
    for (let i = 0; i < 256; i++) port.out(uart.UART_TX, i);
    let count = 0;
    while ((port.in(uart.UART_LSR) & uart.UART_LSR_DR) !== 0 && count < 256) {
      port.in(uart.UART_RX);
      count++;
    }
    port.out(uart.UART_FCR, 0);
    port.out(uart.UART_MCR, mcr);
    port.out(uart.UART_LCR, UART_LCR_CONF_MODE_A);
    port.out(uart.UART_DLL, divisor[0]);
    port.out(uart.UART_DLM, divisor[1]);
    port.out(uart.UART_LCR, lcr);
    return count;
  }

  startup(): void {
    const { port } = this;
    this.#clearFifos();
    this.#clearInterrupts();
    port.out(uart.UART_IER, uart.UART_IER_THRI);
    const iir1 = port.in(uart.UART_IIR);
    port.out(uart.UART_IER, 0);
    port.out(uart.UART_IER, uart.UART_IER_THRI);
    const iir2 = port.in(uart.UART_IIR);
    port.out(uart.UART_IER, 0);
    if ((iir1 & uart.UART_IIR_NO_INT) === 0 && (iir2 & uart.UART_IIR_NO_INT) !== 0) this.bugs.add('THRE');
    port.out(uart.UART_LCR, UART_LCR_WLEN8);
    this.#setMctrl(uart.UART_MCR_OUT2);
    port.out(uart.UART_IER, uart.UART_IER_THRI);
    const lsr = port.in(uart.UART_LSR);
    const iir = port.in(uart.UART_IIR);
    port.out(uart.UART_IER, 0);
    if ((lsr & uart.UART_LSR_TEMT) !== 0 && (iir & uart.UART_IIR_NO_INT) !== 0) this.bugs.add('TXEN');
    this.#clearInterrupts();
    this.#ier = uart.UART_IER_RLSI | uart.UART_IER_RDI;
    this.#setTermios();
    this.#setMctrl(uart.UART_MCR_DTR | uart.UART_MCR_RTS);
  }

  shutdown(): void {
    const { port } = this;
    this.#ier = 0;
    port.out(uart.UART_IER, 0);
    this.#mctrl = 0;
    port.out(uart.UART_MCR, 0);
    this.#clearFifos();
    port.in(uart.UART_RX);
  }

  #setTermios(): void {
    const { port } = this;
    this.#lcr = UART_LCR_WLEN8;
    port.out(uart.UART_IER, this.#ier);
    port.out(uart.UART_LCR, this.#lcr | uart.UART_LCR_DLAB);
    this.#writeDivisor(1);
    port.out(uart.UART_LCR, this.#lcr);
    this.#fcr = uart.UART_FCR_ENABLE_FIFO | UART_FCR_R_TRIG_10;
    port.out(uart.UART_FCR, uart.UART_FCR_ENABLE_FIFO);
    port.out(uart.UART_FCR, this.#fcr);
    this.#setMctrl(0);
  }

  /** User space writes: the driver only switches the interrupt on. */
  write(bytes: Iterable<number>): void {
    this.transmit.push(...bytes);
    if (this.transmit.length === 0 || (this.#ier & uart.UART_IER_THRI) !== 0) return;
    this.#ier |= uart.UART_IER_THRI;
    this.port.out(uart.UART_IER, this.#ier);
  }

  /** The kernel's console, which polls. @returns whether it ever gave up waiting */
  printk(bytes: Iterable<number>): boolean {
    const { port } = this;
    const ier = port.in(uart.UART_IER);
    port.out(uart.UART_IER, 0);
    let gaveUp = false;
    for (const byte of bytes) {
      gaveUp = this.#waitForTransmitter() || gaveUp;
      port.out(uart.UART_TX, byte);
    }
    gaveUp = this.#waitForTransmitter() || gaveUp;
    port.out(uart.UART_IER, ier);
    return gaveUp;
  }

  /** The interrupt handler. */
  interrupt(): void {
    let handled = false;
    for (let pass = 0; pass < PASS_LIMIT; pass++) {
      if ((this.port.in(uart.UART_IIR) & uart.UART_IIR_NO_INT) !== 0) break;
      handled = true;
      this.#handleIrq();
    }
    if (!handled) this.spurious++;
  }

  #handleIrq(): void {
    const { port } = this;
    let status = this.#lsrIn();
    if ((status & (uart.UART_LSR_DR | uart.UART_LSR_BI)) !== 0) {
      let left = 256;
      do {
        const byte = (status & uart.UART_LSR_DR) !== 0 ? port.in(uart.UART_RX) : 0;
        const flags = status | this.#savedFlags;
        this.#savedFlags = 0;
        if ((flags & uart.UART_LSR_BI) !== 0) this.breaks++;
        else this.received.push(byte);
        if (--left === 0) break;
        status = port.in(uart.UART_LSR);
      } while ((status & (uart.UART_LSR_DR | uart.UART_LSR_BI)) !== 0);
    }
    port.in(uart.UART_MSR);
    if ((status & uart.UART_LSR_THRE) !== 0 && (this.#ier & uart.UART_IER_THRI) !== 0) {
      for (let i = 0; i < 16 && this.transmit.length > 0; i++) port.out(uart.UART_TX, this.transmit.shift()!);
      if (this.transmit.length === 0) {
        this.#ier &= ~uart.UART_IER_THRI;
        port.out(uart.UART_IER, this.#ier);
      }
    }
  }

  #waitForTransmitter(): boolean {
    for (let i = 0; i < 100; i++) {
      if ((this.#lsrIn() & BOTH_EMPTY) === BOTH_EMPTY) return false;
    }
    return true;
  }

  #lsrIn(): number {
    const status = this.port.in(uart.UART_LSR);
    this.#savedFlags |= status & uart.UART_LSR_BI;
    return status;
  }

  #setMctrl(set: number): void {
    this.#mctrl |= set;
    this.port.out(uart.UART_MCR, this.#mctrl);
  }

  #clearFifos(): void {
    const { port } = this;
    port.out(uart.UART_FCR, uart.UART_FCR_ENABLE_FIFO);
    port.out(uart.UART_FCR, uart.UART_FCR_ENABLE_FIFO | uart.UART_FCR_CLEAR_RCVR | uart.UART_FCR_CLEAR_XMIT);
    port.out(uart.UART_FCR, 0);
  }

  #clearInterrupts(): void {
    for (const register of [uart.UART_LSR, uart.UART_RX, uart.UART_IIR, uart.UART_MSR]) this.port.in(register);
  }

  #writeDivisor(divisor: number): void {
    this.port.out(uart.UART_DLL, divisor & 0xff);
    this.port.out(uart.UART_DLM, divisor >> 8);
  }
}
