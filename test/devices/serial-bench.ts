import type { InterruptLine } from '../../devices/bus.ts';
import type { InputSource, OutputSink } from '../../devices/byte-stream.ts';
import { PortBus } from '../../devices/port-bus.ts';
import { Serial } from '../../devices/serial.ts';

export const COM1 = 0x3f8;

/** A sink whose congestion the test decides: it becomes congested when it holds `limit` bytes, and keeps all. */
export class TestSink implements OutputSink {
  readonly bytes: number[] = [];
  /** Bytes that the host has taken. */
  drained = 0;
  limit = Number.POSITIVE_INFINITY;
  /** The most bytes that ever waited. */
  peak = 0;
  #listener: () => void = () => {};
  #congested = false;

  put(byte: number): boolean {
    this.bytes.push(byte);
    this.peak = Math.max(this.peak, this.bytes.length - this.drained);
    this.#congested ||= this.bytes.length - this.drained >= this.limit;
    return !this.#congested;
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    for (let i = start; i < end; i++) this.put(bytes[i]!);
    return end - start;
  }

  onDrain(listener: () => void): void {
    this.#listener = listener;
  }

  drain(): void {
    this.drained = this.bytes.length;
    if (!this.#congested) return;
    this.#congested = false;
    this.#listener();
  }

  get text(): string {
    return Buffer.from(this.bytes).toString('latin1');
  }
}

/** A source that the test fills. */
export class TestSource implements InputSource {
  readonly #bytes: number[] = [];
  #listener: () => void = () => {};

  get available(): number {
    return this.#bytes.length;
  }

  take(): number {
    const byte = this.#bytes.shift();
    if (byte === undefined) throw new RangeError('nothing there');
    return byte;
  }

  takeInto(target: Uint8Array, start: number, end: number): number {
    const part = this.#bytes.splice(0, end - start);
    target.set(part, start);
    return part.length;
  }

  onReadable(listener: () => void): void {
    this.#listener = listener;
  }

  type(bytes: Iterable<number>): void {
    this.#bytes.push(...bytes);
    this.#listener();
  }
}

/** Counts edges; `latched` is the one that an interrupt controller holds until the CPU takes it. */
export class TestInterrupt implements InterruptLine {
  count = 0;
  latched = false;

  trigger(): void {
    this.count++;
    this.latched = true;
  }
}

/** A serial port on a bus, with all that it needs. */
export class SerialBench {
  readonly interrupt = new TestInterrupt();
  readonly sink = new TestSink();
  readonly source = new TestSource();
  readonly serial = new Serial(this.interrupt, this.sink, this.source);
  readonly bus = new PortBus();

  constructor() {
    this.bus.add(COM1, 8, this.serial, 1);
  }

  in(register: number): number {
    return this.bus.read(COM1 + register, 1);
  }

  out(register: number, value: number): void {
    this.bus.write(COM1 + register, 1, value);
  }
}
