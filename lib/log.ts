import { isatty } from 'node:tty';
import type { LogFormat, LoggerConfig, LogLevel } from './config/types.ts';
import { DescriptorSink, type LineSink, openLineSink } from './output/line-sink.ts';

const LEVELS: readonly LogLevel[] = ['Off', 'Error', 'Warning', 'Info', 'Debug', 'Trace'];
/** Names of limited warnings are constants of the source; more of them would be a defect, and are not limited apart. */
const MAX_LIMITED = 256;
const LIMIT_INTERVAL_MS = 1000;
const STDERR = 2;

/** What is said in place of lines that a sink did not take. */
const lostLines = (count: number) => `${count} lines of this log were lost: its output was full`;

/** How often a limited warning came, and whether the last times were shown. */
interface Limited {
  readonly message: string;
  readonly module: string | undefined;
  count: number;
  /** Since the line that was shown last. */
  hidden: number;
  shownAt: number;
}

interface Shared {
  readonly sink: LineSink;
  readonly config: LoggerConfig;
  readonly id: string;
  readonly level: number;
  readonly limited: Map<string, Limited>;
  lost: number;
  /** In all. */
  missed: number;
  warnings: number;
  /** Whether lines go to a terminal that is raw just now. */
  isRaw: () => boolean;
  timer: NodeJS.Timeout | undefined;
}

/**
 * A levelled log, as text or as JSON lines; never on standard output. Messages are one line each.
 *
 * Text on standard error begins with `mvm:`, in a file with time and instance (Firecracker's format). JSON lines have `time`,
 * `level`, `id`, `module`, `message`, and `repeated` where a limited warning stands for several.
 */
export class Log {
  readonly #shared: Shared;
  readonly #module: string | undefined;

  private constructor(shared: Shared, module: string | undefined) {
    this.#shared = shared;
    this.#module = module;
  }

  /**
   * @param id the instance's name
   * @param sink default: what `config.path` names, or standard error
   * @throws ConfigError when the file cannot be opened
   */
  static open(config: LoggerConfig, id: string, sink: LineSink = openSink(config.path)): Log {
    const level = LEVELS.indexOf(config.level);
    return new Log(
      {
        sink,
        config,
        id,
        level,
        limited: new Map(),
        lost: 0,
        missed: 0,
        warnings: 0,
        isRaw: () => false,
        timer: undefined,
      },
      undefined,
    );
  }

  /**
   * Tells whether the user's terminal is raw, as it is while a guest uses it: lines on it then need a carriage return as well.
   * Without effect where standard error is no terminal, or the log goes elsewhere.
   */
  set rawTerminal(isRaw: () => boolean) {
    if (this.#shared.config.path === undefined && isatty(STDERR)) this.#shared.isRaw = isRaw;
  }

  /** The same log, for one module; `module` of the configuration chooses by its name. */
  child(module: string): Log {
    return new Log(this.#shared, module);
  }

  /** Whether a line of this level would be shown: ask before a message that is dear to make. */
  enabled(level: LogLevel): boolean {
    const { config } = this.#shared;
    if (LEVELS.indexOf(level) > this.#shared.level) return false;
    return config.module === undefined || (this.#module ?? '').startsWith(config.module);
  }

  error(message: string): void {
    this.#log('Error', message);
  }

  warn(message: string): void {
    this.#shared.warnings++;
    this.#log('Warning', message);
  }

  info(message: string): void {
    this.#log('Info', message);
  }

  debug(message: string): void {
    this.#log('Debug', message);
  }

  trace(message: string): void {
    this.#log('Trace', message);
  }

  /**
   * A warning that a guest can cause as often as it likes: it is counted each time, and shown at most once a second, then with
   * how often it came. `message` must be a constant: it is also the name under which the warning is counted.
   */
  warnLimited(message: string): void {
    const shared = this.#shared;
    let limited = shared.limited.get(message);
    const now = performance.now();
    if (limited === undefined) {
      limited = { message, module: this.#module, count: 0, hidden: 0, shownAt: now - LIMIT_INTERVAL_MS };
      if (shared.limited.size < MAX_LIMITED) shared.limited.set(message, limited);
    }
    limited.count++;
    limited.hidden++;
    shared.warnings++;
    if (now - limited.shownAt >= LIMIT_INTERVAL_MS) this.#showLimited(limited, now);
    else shared.timer ??= this.#startTimer();
  }

  /** Lines that the log's output did not take. */
  get missed(): number {
    return this.#shared.missed;
  }

  /** Warnings, those that were not shown included. */
  get warnings(): number {
    return this.#shared.warnings;
  }

  /** How often each limited warning came. */
  counts(): ReadonlyMap<string, number> {
    return new Map([...this.#shared.limited].map(([message, { count }]) => [message, count]));
  }

  /** Shows what is still hidden, and closes the log's file. */
  close(): void {
    clearTimeout(this.#shared.timer);
    this.#shared.timer = undefined;
    this.#showHidden(Number.POSITIVE_INFINITY);
    this.#shared.sink.close();
  }

  #startTimer(): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#shared.timer = undefined;
      if (this.#showHidden(performance.now())) this.#shared.timer = this.#startTimer();
    }, LIMIT_INTERVAL_MS);
    timer.unref();
    return timer;
  }

  /** @returns whether some warnings are still too young to be shown */
  #showHidden(now: number): boolean {
    let waiting = false;
    for (const limited of this.#shared.limited.values()) {
      if (limited.hidden === 0) continue;
      if (now - limited.shownAt >= LIMIT_INTERVAL_MS) this.#showLimited(limited, now);
      else waiting = true;
    }
    return waiting;
  }

  #showLimited(limited: Limited, now: number): void {
    const repeated = limited.hidden;
    limited.hidden = 0;
    limited.shownAt = now;
    new Log(this.#shared, limited.module).#log('Warning', limited.message, repeated);
  }

  #log(level: LogLevel, message: string, repeated = 1): void {
    if (!this.enabled(level)) return;
    const shared = this.#shared;
    if (shared.lost > 0) {
      if (!shared.sink.write(this.#format('Warning', lostLines(shared.lost), 1))) {
        shared.lost++;
        shared.missed++;
        return;
      }
      shared.lost = 0;
    }
    if (shared.sink.write(this.#format(level, message, repeated))) return;
    shared.lost++;
    shared.missed++;
  }

  #format(level: LogLevel, message: string, repeated: number): string {
    const line = this.#formatLine(level, message, repeated);
    return this.#shared.isRaw() ? `${line}\r\n` : `${line}\n`;
  }

  #formatLine(level: LogLevel, message: string, repeated: number): string {
    const { config, id } = this.#shared;
    const module = this.#module;
    const time = new Date().toISOString();
    if (config.format === 'json') {
      return `${JSON.stringify({ time, level, id, module, message, ...(repeated > 1 ? { repeated } : {}) })}`;
    }
    const line = repeated > 1 ? `${oneLine(message)} (repeated ${repeated} times)` : oneLine(message);
    const origin = config.showOrigin && module !== undefined ? module : undefined;
    if (config.path === undefined) {
      // On a terminal, warnings must say that they are ones, whatever show_level says.
      const prefix = config.showLevel || level === 'Warning' || level === 'Error' ? `${level.toLowerCase()}: ` : '';
      return `mvm: ${prefix}${origin === undefined ? '' : `${origin}: `}${line}`;
    }
    const tags = [id, ...(config.showLevel ? [level] : []), ...(origin === undefined ? [] : [origin])];
    return `${time} [${tags.join(':')}] ${line}`;
  }
}

/** A message must not forge another line, nor send escape sequences to a terminal. */
function oneLine(message: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get through
  return message.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, (c) =>
    c === '\n' ? ' ' : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

function openSink(path: string | undefined): LineSink {
  return path === undefined ? new DescriptorSink(STDERR, false) : openLineSink(path, 'the log');
}

/** The log's settings where there is no configuration yet. */
export function defaultLogger(format: LogFormat = 'text', level: LogLevel = 'Warning'): LoggerConfig {
  return { path: undefined, level, showLevel: false, showOrigin: false, module: undefined, format };
}
