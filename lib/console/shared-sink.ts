import type { OutputSink } from '../../devices/byte-stream.ts';

/**
 * Lets several devices print to one sink, as a serial port and a virtio console do that end at the same terminal. Each has its own
 * listener for the end of congestion, all of which are told.
 */
export class SharedSink {
  readonly #sink: OutputSink;
  readonly #listeners: (() => void)[] = [];

  constructor(sink: OutputSink) {
    this.#sink = sink;
    sink.onDrain(() => {
      for (let i = 0; i < this.#listeners.length; i++) this.#listeners[i]!();
    });
  }

  /** A sink for one more device. */
  branch(): OutputSink {
    const sink = this.#sink;
    const listeners = this.#listeners;
    const index = listeners.push(() => {}) - 1;
    return {
      put: (byte) => sink.put(byte),
      write: (bytes, start, end) => sink.write(bytes, start, end),
      onDrain: (listener) => {
        listeners[index] = listener;
      },
    };
  }
}
