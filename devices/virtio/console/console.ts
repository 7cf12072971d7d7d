import type { AccessSize } from '../../bus.ts';
import type { InputSource, OutputSink } from '../../byte-stream.ts';
import { DescriptorChain } from '../chain.ts';
import { feature, VIRTIO_ID_CONSOLE } from '../constants.ts';
import { ConfigSpace, type VirtioDevice, type VirtioHost } from '../device.ts';
import { Fault } from '../faults.ts';
import type { VirtQueue } from '../queue.ts';
import {
  CONSOLE_QUEUE_SIZE,
  ConsoleConfig,
  RECEIVE_QUEUE,
  TRANSMIT_QUEUE,
  VIRTIO_CONSOLE_F_EMERG_WRITE,
  VIRTIO_CONSOLE_F_SIZE,
} from './constants.ts';
import { ConsoleMetrics } from './metrics.ts';

/** Bytes that are printed, or given to the guest, before other devices have their turn. */
const BYTES_PER_TURN = 1 << 18;

export interface ConsoleSize {
  readonly columns: number;
  readonly rows: number;
}

export interface ConsoleOptions {
  readonly output: OutputSink;
  /** Undefined where nothing can be typed. */
  readonly input?: InputSource | undefined;
  /** Undefined where the host's end is no terminal: then the guest is told of no size, ever. */
  readonly size?: ConsoleSize | undefined;
}

/**
 * A virtio console (virtio 1.2 section 5.3) of a single port, which Linux knows as hvc0.
 *
 * What the guest prints goes from its memory to the sink, and what is typed from the source to its memory. Where the sink takes no more, the
 * guest's buffer stays in its queue until it does; where the guest has no buffers, what is typed waits in the source.
 */
export class ConsoleDevice implements VirtioDevice {
  readonly type = VIRTIO_ID_CONSOLE;
  readonly name = 'console';
  readonly features: bigint;
  readonly queueSizes: readonly number[] = [CONSOLE_QUEUE_SIZE, CONSOLE_QUEUE_SIZE];
  readonly metrics = new ConsoleMetrics();
  readonly #output: OutputSink;
  readonly #input: InputSource | undefined;
  readonly #config = new ConfigSpace(ConsoleConfig.SIZE);
  #host: VirtioHost | undefined;
  #receiveQueue: VirtQueue | undefined;
  #transmitQueue: VirtQueue | undefined;
  #typed: DescriptorChain | undefined;
  #printed: DescriptorChain | undefined;
  /** So much of the first chain in the transmit queue has been printed. */
  #done = 0;
  #congested = false;

  constructor({ output, input, size }: ConsoleOptions) {
    this.#output = output;
    this.#input = input;
    let features = feature(VIRTIO_CONSOLE_F_EMERG_WRITE);
    if (size !== undefined) {
      features |= feature(VIRTIO_CONSOLE_F_SIZE);
      this.#describe(size);
    }
    this.features = features;
    this.#config.view.setUint32(ConsoleConfig.max_nr_ports, 1, true);
    output.onDrain(() => this.#drained());
    input?.onReadable(() => this.#receive());
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.#config.read(offset, size);
  }

  /** Section 5.3.4: a byte to print at once, even before the driver is ready. */
  writeConfig(offset: number, _size: AccessSize, value: number): void {
    if (offset !== ConsoleConfig.emerg_wr) return;
    this.metrics.emergency_write_count++;
    this.#output.put(value & 0xff);
  }

  /** Tells the guest of the terminal's new size. */
  resize(size: ConsoleSize): void {
    if ((this.features & feature(VIRTIO_CONSOLE_F_SIZE)) === 0n) return;
    this.metrics.resize_count++;
    this.#describe(size);
    this.#host?.configChanged();
  }

  activate(host: VirtioHost): void {
    this.#host = host;
    this.#receiveQueue = host.queues[RECEIVE_QUEUE]!;
    this.#transmitQueue = host.queues[TRANSMIT_QUEUE]!;
    this.#typed ??= new DescriptorChain(host.memory, CONSOLE_QUEUE_SIZE);
    this.#printed ??= new DescriptorChain(host.memory, CONSOLE_QUEUE_SIZE);
  }

  reset(): void {
    this.#done = 0;
    this.#host = undefined;
    this.#receiveQueue = undefined;
    this.#transmitQueue = undefined;
  }

  resetQueue(queue: number): void {
    if (queue === TRANSMIT_QUEUE) this.#done = 0;
  }

  notify(index: number): void {
    if (index === RECEIVE_QUEUE) {
      this.metrics.rx_queue_event_count++;
      this.#receive();
    } else {
      this.metrics.tx_queue_event_count++;
      this.#transmit();
    }
  }

  #transmit(): void {
    const queue = this.#transmitQueue;
    if (!queue?.live) return;
    const chain = this.#printed!;
    let left = BYTES_PER_TURN;
    while (left > 0 && !this.#congested && queue.pop(chain)) {
      if (chain.readableLength === 0) {
        queue.fail(Fault.RequestHeader);
        return;
      }
      const count = this.#print(chain, this.#done, left);
      left -= count;
      if (this.#done + count < chain.readableLength) {
        this.#done += count;
        queue.unpop();
        break;
      }
      this.#done = 0;
      queue.push(chain.head, 0);
    }
    queue.watched = !this.#congested;
    if (queue.publish()) this.#host!.interrupt(TRANSMIT_QUEUE);
  }

  /** Prints at most `limit` of a chain's bytes, from `start` on. @returns how many */
  #print(chain: DescriptorChain, start: number, limit: number): number {
    const { bytes } = chain.memory;
    let skip = start;
    let printed = 0;
    for (let i = chain.readFrom; i < chain.readTo && printed < limit; i++) {
      const length = chain.lengths[i]!;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const offset = chain.offsets[i]! + skip;
      const count = Math.min(length - skip, limit - printed);
      skip = 0;
      const taken = this.#output.write(bytes, offset, offset + count);
      printed += taken;
      if (taken < count) {
        this.#congested = true;
        this.metrics.tx_congested_count++;
        break;
      }
    }
    this.metrics.tx_bytes_count += printed;
    return printed;
  }

  #drained(): void {
    this.#congested = false;
    if (this.#transmitQueue === undefined) return;
    this.#transmitQueue.watched = true;
    this.#transmit();
  }

  #receive(): void {
    const queue = this.#receiveQueue;
    if (!queue?.live) return;
    const input = this.#input;
    const chain = this.#typed!;
    let left = BYTES_PER_TURN;
    while (input !== undefined && input.available > 0 && left > 0 && queue.pop(chain)) {
      if (chain.writableLength === 0) {
        queue.fail(Fault.RequestAnswer);
        return;
      }
      const count = this.#fill(chain, input);
      queue.push(chain.head, count);
      left -= count;
    }
    // While nothing is typed, nobody needs to know of buffers.
    queue.watched = input !== undefined && input.available > 0;
    if (queue.publish()) this.#host!.interrupt(RECEIVE_QUEUE);
  }

  /** Puts what is typed into a chain. @returns how many bytes */
  #fill(chain: DescriptorChain, input: InputSource): number {
    const { bytes } = chain.memory;
    let filled = 0;
    for (let i = chain.writeFrom; i < chain.writeTo && input.available > 0; i++) {
      const offset = chain.offsets[i]!;
      filled += input.takeInto(bytes, offset, offset + Math.min(chain.lengths[i]!, BYTES_PER_TURN));
    }
    this.metrics.rx_bytes_count += filled;
    return filled;
  }

  #describe({ columns, rows }: ConsoleSize): void {
    this.#config.view.setUint16(ConsoleConfig.cols, columns, true);
    this.#config.view.setUint16(ConsoleConfig.rows, rows, true);
  }
}
