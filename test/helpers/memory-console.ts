import type { InputSource, OutputSink } from '../../devices/byte-stream.ts';

/** A console's output in memory, that takes as many bytes as there is room for. */
export class MemoryOutput implements OutputSink {
  room = Number.POSITIVE_INFINITY;
  /** Whether `text` is of interest. */
  keeping = true;
  length = 0;
  readonly #bytes: number[] = [];
  #onDrain: () => void = () => {};

  get text(): string {
    return Buffer.from(this.#bytes).toString('latin1');
  }

  /** Makes room for so many bytes more. */
  open(room: number): void {
    this.room = room;
    this.#onDrain();
  }

  put(byte: number): boolean {
    this.length++;
    if (this.keeping) this.#bytes.push(byte);
    return this.room > 0;
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    if (start < 0 || end > bytes.length || start > end) throw new Error(`bytes ${start} to ${end} are none`);
    const count = Math.min(end - start, this.room);
    for (let i = 0; i < count && this.keeping; i++) this.#bytes.push(bytes[start + i] as number);
    this.length += count;
    this.room -= count;
    return count;
  }

  onDrain(listener: () => void): void {
    this.#onDrain = listener;
  }
}

/** A keyboard in memory. */
export class MemoryInput implements InputSource {
  #bytes: number[] = [];
  #onReadable: () => void = () => {};

  type(text: string): void {
    this.#bytes.push(...Buffer.from(text, 'latin1'));
    this.#onReadable();
  }

  clear(): void {
    this.#bytes = [];
  }

  get available(): number {
    return this.#bytes.length;
  }

  take(): number {
    return this.#bytes.shift() as number;
  }

  takeInto(target: Uint8Array, start: number, end: number): number {
    if (start < 0 || end > target.length || start >= end) throw new Error(`no room from ${start} to ${end}`);
    const taken = this.#bytes.splice(0, end - start);
    target.set(taken, start);
    return taken.length;
  }

  onReadable(listener: () => void): void {
    this.#onReadable = listener;
  }
}
