import { Worker } from 'node:worker_threads';
import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';

/** Words that both threads look at. */
export const Control = { Wanted: 0, Is: 1, Written: 2, SIZE: 3 } as const;
export const State = { Resting: 0, Scribbling: 1 } as const;

/** A part of guest memory, by guest-physical address, in bytes. */
export interface Area {
  readonly start: number;
  readonly length: number;
}

export interface ScribblerData {
  readonly memory: SharedArrayBuffer;
  /** Where guest memory begins in it. */
  readonly offset: number;
  readonly areas: readonly Area[];
  readonly control: SharedArrayBuffer;
}

/**
 * Another vCPU of a hostile guest, as a thread: it changes words of guest memory while the device reads them. What is checked once and read
 * again is then sometimes something else.
 */
export class Scribbler {
  readonly #shared: Int32Array;
  readonly #worker: Worker;

  /** @param areas where it writes, each as often as the others */
  constructor(memory: GuestMemory, areas: readonly Area[]) {
    const control = new SharedArrayBuffer(4 * Control.SIZE);
    this.#shared = new Int32Array(control);
    const workerData: ScribblerData = {
      memory: memory.buffer as SharedArrayBuffer,
      offset: memory.regions[0]!.offset,
      areas,
      control,
    };
    this.#worker = new Worker(new URL('./scribbler-worker.ts', import.meta.url), { workerData });
  }

  /** Words that were changed. */
  get written(): number {
    return Atomics.load(this.#shared, Control.Written) >>> 0;
  }

  /** Starts it, and waits until it writes. */
  async start(): Promise<void> {
    Atomics.store(this.#shared, Control.Wanted, State.Scribbling);
    Atomics.notify(this.#shared, Control.Wanted);
    const before = this.written;
    while (this.written === before) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  /** Makes it rest: from now on memory is the caller's alone. */
  rest(): void {
    Atomics.store(this.#shared, Control.Wanted, State.Resting);
    while (Atomics.load(this.#shared, Control.Is) !== State.Resting)
      Atomics.wait(this.#shared, Control.Is, State.Scribbling, 10);
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}
