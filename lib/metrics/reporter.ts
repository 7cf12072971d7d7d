import type { LineSink } from '../output/line-sink.ts';
import type { Counters } from './counters.ts';

/** Firecracker's: a report a minute, in milliseconds. */
const INTERVAL_MS = 60_000;

/** Writes reports of counters, each a line of JSON: once a minute, when asked to, and at the end. */
export class MetricsReporter {
  readonly #sink: LineSink;
  readonly #counters: Counters;
  readonly #timer: NodeJS.Timeout;
  readonly #properties: Readonly<Record<string, string>> | undefined;
  /** Reports that the sink did not take. What they said is in the next one. */
  missed = 0;

  /**
   * @param properties that each report has
   * @param interval milliseconds
   */
  constructor(
    sink: LineSink,
    counters: Counters,
    properties?: Readonly<Record<string, string>>,
    interval = INTERVAL_MS,
  ) {
    this.#properties = properties;
    this.#sink = sink;
    this.#counters = counters;
    this.#timer = setInterval(() => this.flush(), interval);
    this.#timer.unref();
  }

  /** Writes a report now. */
  flush(): void {
    const { groups, taken } = this.#counters.report();
    const line = JSON.stringify({ utc_timestamp_ms: Date.now(), properties: this.#properties, ...groups });
    if (this.#sink.write(`${line}\n`)) taken();
    else this.missed++;
  }

  /** Writes the last report. */
  close(): void {
    clearInterval(this.#timer);
    this.flush();
    this.#sink.close();
  }
}
