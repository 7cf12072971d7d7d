import type { InputSource, OutputSink } from '../../devices/byte-stream.ts';
import type { ConsoleConfig, VmConfig } from '../config/types.ts';
import type { VirtioConsoleEnds } from '../console/create.ts';
import { type ConsoleEvents, HostConsole } from '../console/host-console.ts';
import { RateLimitedSink } from '../console/rate-limited-sink.ts';
import { SharedSink } from '../console/shared-sink.ts';
import type { TerminalState } from '../console/termios.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import type { SerialEnds } from './isa-devices.ts';

/** The input of a serial port that only prints. */
const NO_INPUT: InputSource = { available: 0, take: () => 0, takeInto: () => 0, onReadable: () => {} };
/** Of a terminal that does not know it yet, as tty drivers have it (ioctl_tty(2), TIOCGWINSZ). */
const UNKNOWN_SIZE = { columns: 0, rows: 0 };
/** Ctrl-O: what begins a SysRq command on a console of Linux's that knows no break (drivers/tty/hvc/hvc_console.c). */
const SYSRQ_KEY = 0x0f;

/**
 * The host's ends of the guest's serial port and virtio console: one terminal, or pipe, for those that are on standard input and output, and
 * a file for each of the others. Where both are on the terminal both print there, and what is typed goes to the virtio console.
 */
export class Consoles {
  /** Undefined where the guest has none. */
  readonly serial: SerialEnds | undefined;
  readonly virtio: VirtioConsoleEnds | undefined;
  readonly #standard: HostConsole | undefined;
  readonly #all: HostConsole[] = [];
  readonly #limited: RateLimitedSink[] = [];

  /** @throws ConfigError where a file cannot be opened */
  constructor({ serial, console }: Pick<VmConfig, 'serial' | 'console'>, loop: EventLoop, events: ConsoleEvents) {
    const isTyped = console.kind === 'stdio';
    if (isTyped || serial.kind === 'stdio') {
      const sendBreak = isTyped ? () => this.#standard?.input?.insert(SYSRQ_KEY) : () => events.sendBreak();
      this.#standard = HostConsole.standard(loop, { ...events, sendBreak });
      this.#all.push(this.#standard);
    }
    const isShared = isTyped && serial.kind === 'stdio';
    const shared = isShared ? new SharedSink(this.#standard!.output) : undefined;
    const outputOf = (config: ConsoleConfig): OutputSink | undefined => {
      if (config.kind === 'none') return undefined;
      if (config.kind === 'stdio') return this.#limit(shared?.branch() ?? this.#standard!.output, config);
      const file = HostConsole.file(loop, config.path, events);
      this.#all.push(file);
      return this.#limit(file.output, config);
    };
    const serialOutput = outputOf(serial);
    const virtioOutput = outputOf(console);
    const input = this.#standard?.input;
    if (serialOutput !== undefined) {
      const isInput = serial.kind === 'stdio' && !isTyped;
      this.serial = { output: serialOutput, input: (isInput ? input : undefined) ?? NO_INPUT };
    }
    if (virtioOutput !== undefined) {
      this.virtio = {
        output: virtioOutput,
        input: isTyped ? input : undefined,
        size: isTyped && this.#standard!.isTerminal ? (this.#standard!.size ?? UNKNOWN_SIZE) : undefined,
        onResize: (listener) => {
          if (isTyped) this.#standard!.onResize(listener);
        },
      };
    }
  }

  /** Firecracker's `uart.rate_limiter_dropped_bytes`, and what was lost because the host took no more. */
  get counters(): { rate_limiter_dropped_bytes: number; lost_bytes: number } {
    return {
      rate_limiter_dropped_bytes: this.#limited.reduce((sum, { droppedBytes }) => sum + droppedBytes, 0),
      lost_bytes: this.#all.reduce((sum, { output }) => sum + output.metrics.droppedBytes, 0),
    };
  }

  /** Whether the user's terminal is raw just now. */
  get raw(): boolean {
    return this.#standard?.raw ?? false;
  }

  /** The user's terminal, for who puts it back in an emergency. */
  get terminalState(): TerminalState | undefined {
    return this.#standard?.terminalState;
  }

  /** Makes the terminal raw and begins to read. */
  start(): void {
    this.#standard?.start();
  }

  /** Resolves when all that the guest printed is out, or the outputs have failed. The loop must run. */
  async drain(): Promise<void> {
    await Promise.all(this.#all.map((console) => console.drain()));
  }

  /** Gives the terminal back. */
  close(): void {
    for (const console of this.#all) console.close();
  }

  #limit(sink: OutputSink, { rateLimiter }: Exclude<ConsoleConfig, { kind: 'none' }>): OutputSink {
    if (rateLimiter === undefined) return sink;
    const limited = new RateLimitedSink(sink, rateLimiter);
    this.#limited.push(limited);
    return limited;
  }
}
