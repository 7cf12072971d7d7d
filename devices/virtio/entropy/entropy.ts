import { DescriptorChain } from '../chain.ts';
import { VIRTIO_ID_RNG } from '../constants.ts';
import type { VirtioDevice, VirtioHost } from '../device.ts';
import { Fault } from '../faults.ts';
import type { RequestLimiter } from '../limiter.ts';
import type { VirtQueue } from '../queue.ts';
import { EntropyMetrics } from './metrics.ts';
import type { EntropySource } from './source.ts';

/** Descriptors of the queue: Firecracker's number. */
export const ENTROPY_QUEUE_SIZE = 256;
/**
 * The most that one request gets, in bytes, as in Firecracker: making random bytes takes the host's time, and a driver looks at how
 * many it was given (virtio 1.2 section 5.4.6.2 asks for no more than one).
 */
export const MAX_ENTROPY_BYTES = 64 * 1024;

/** Bytes after which other devices have their turn. */
const BYTES_PER_TURN = 4 * MAX_ENTROPY_BYTES;

/** A virtio entropy device (virtio 1.2 section 5.4): fills what the driver gives it with random bytes, where they lie. */
export class EntropyDevice implements VirtioDevice {
  readonly type = VIRTIO_ID_RNG;
  readonly name = 'entropy device';
  readonly features = 0n;
  readonly queueSizes: readonly number[] = [ENTROPY_QUEUE_SIZE];
  readonly metrics = new EntropyMetrics();
  readonly #source: EntropySource;
  readonly #limiter: RequestLimiter | undefined;
  #host: VirtioHost | undefined;
  #queue: VirtQueue | undefined;
  #chain: DescriptorChain | undefined;
  /** Requests of the current batch: their chains, how many bytes they are to get, and behind which fill they end. */
  readonly #heads = new Uint16Array(ENTROPY_QUEUE_SIZE);
  readonly #lengths = new Uint32Array(ENTROPY_QUEUE_SIZE);
  readonly #ends = new Uint32Array(ENTROPY_QUEUE_SIZE);
  #count = 0;
  /** Bytes of each fill of the current batch. */
  readonly #sizes: Uint32Array;
  #fills = 0;

  constructor(source: EntropySource, limiter?: RequestLimiter) {
    this.#source = source;
    this.#sizes = new Uint32Array(source.capacity);
    this.#limiter = limiter;
    limiter?.onReady(() => this.#ready());
  }

  /** There is no configuration space. */
  readConfig(): number {
    return 0;
  }

  writeConfig(): void {}

  activate(host: VirtioHost): void {
    this.#host = host;
    this.#queue = host.queues[0]!;
    this.#chain = new DescriptorChain(host.memory, ENTROPY_QUEUE_SIZE);
  }

  reset(): void {
    this.#host = undefined;
    this.#queue = undefined;
  }

  /** Nothing is in flight between two notifications. */
  resetQueue(): void {}

  notify(): void {
    const queue = this.#queue!;
    const chain = this.#chain!;
    for (let left = BYTES_PER_TURN; left > 0 && this.#count < ENTROPY_QUEUE_SIZE && queue.pop(chain); ) {
      if (chain.writableLength === 0) {
        queue.fail(Fault.RequestAnswer);
        break;
      }
      const length = Math.min(chain.writableLength, MAX_ENTROPY_BYTES);
      if (this.#limiter !== undefined && !this.#limiter.take(1, length)) {
        this.metrics.entropy_rate_limiter_throttled++;
        queue.unpop();
        queue.watched = false;
        break;
      }
      if (chain.writeTo - chain.writeFrom > this.#source.capacity - this.#fills) this.#finish(queue);
      this.#begin(chain, length);
      left -= length;
    }
    this.#finish(queue);
    if (queue.publish()) this.#host?.interrupt(0);
  }

  #begin(chain: DescriptorChain, length: number): void {
    this.metrics.entropy_event_count++;
    let left = length;
    // What does not fit into one batch even alone stays empty; the driver sees by the length how far it is filled.
    const end = Math.min(chain.writeTo, chain.writeFrom + this.#source.capacity);
    for (let i = chain.writeFrom; i < end && left > 0; i++) {
      const size = Math.min(left, chain.lengths[i]!);
      this.#sizes[this.#source.fill(chain.offsets[i]!, size)] = size;
      this.#fills++;
      left -= size;
    }
    this.#heads[this.#count] = chain.head;
    this.#lengths[this.#count] = length - left;
    this.#ends[this.#count] = this.#fills;
    this.#count++;
  }

  /** Carries out what was begun, and answers its requests. */
  #finish(queue: VirtQueue): void {
    if (this.#count === 0) return;
    this.#source.submit();
    let place = 0;
    for (let i = 0; i < this.#count; i++) {
      const wanted = this.#lengths[i]!;
      let written = 0;
      for (let complete = true; place < this.#ends[i]!; place++) {
        const result = this.#source.result(place);
        if (result < 0) this.metrics.host_rng_fails++;
        // What the driver is told is a length from the beginning: nothing behind a gap counts.
        else if (complete) written += result;
        if (result !== this.#sizes[place]) complete = false;
      }
      if (written < wanted) this.metrics.entropy_event_fails++;
      this.metrics.entropy_bytes += written;
      queue.push(this.#heads[i]!, written);
    }
    this.#count = 0;
    this.#fills = 0;
  }

  #ready(): void {
    this.metrics.rate_limiter_event_count++;
    if (this.#queue !== undefined) this.#queue.watched = true;
  }
}
