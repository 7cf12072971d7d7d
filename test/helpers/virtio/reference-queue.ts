import type { DescriptorChain } from '../../../devices/virtio/chain.ts';
import {
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
  VRING_DESC_SIZE,
} from '../../../devices/virtio/constants.ts';
import type { VirtioCore } from '../../../devices/virtio/core.ts';
import type { QueueFeatures, QueuePlace, VirtQueue } from '../../../devices/virtio/queue.ts';
import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';

/** A buffer as the specification has it. */
interface Segment {
  readonly address: bigint;
  readonly length: number;
  readonly writable: boolean;
}

/** `nothing`: there is no buffer; `fault`: the driver must not do this. */
type Verdict = 'nothing' | 'fault' | readonly Segment[];

/**
 * What a device must make of a split virtqueue: written from virtio 1.2 section 2.7 once more, plainly and without sharing code with the
 * device's side. It follows a queue's life, and compares each chain that the device takes.
 */
class ReferenceQueue {
  readonly #memory: GuestMemory;
  #place: QueuePlace | undefined;
  #features: QueueFeatures = { indirect: false, eventIndex: false };
  #next = 0;
  #seen = 0;
  #inFlight = 0;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  enable({ size, descriptors, available, used }: QueuePlace, features: QueueFeatures): void {
    this.disable();
    this.#place = { size, descriptors, available, used };
    this.#features = features;
  }

  disable(): void {
    this.#place = undefined;
    this.#next = 0;
    this.#seen = 0;
    this.#inFlight = 0;
  }

  taken(): void {
    this.#next = (this.#next + 1) & 0xffff;
    this.#inFlight++;
  }

  putBack(): void {
    this.#next = (this.#next - 1) & 0xffff;
    this.#inFlight--;
  }

  givenBack(): void {
    this.#inFlight--;
  }

  /** @param room buffers that the device can take in one chain */
  look(room: number): Verdict {
    const { size, available, descriptors } = this.#place!;
    if (this.#next === this.#seen) {
      const index = this.#u16(available + 2);
      const pending = (index - this.#next) & 0xffff;
      if (pending === 0) return 'nothing';
      if (pending + this.#inFlight > size) return 'fault';
      this.#seen = index;
    }
    const head = this.#u16(available + 4 + 2 * (this.#next % size));
    if (head >= size) return 'fault';
    const segments = this.#walk(descriptors, size, head, true);
    return segments === undefined || segments.length > room || !this.#areRight(segments) ? 'fault' : segments;
  }

  /** Follows a chain in a table. @returns undefined where it is none */
  #walk(table: number, count: number, first: number, mayBeIndirect: boolean): readonly Segment[] | undefined {
    const segments: Segment[] = [];
    for (let index = first, left = count; ; left--) {
      if (index >= count || left === 0) return undefined;
      const at = this.#memory.offsetOf(table + VRING_DESC_SIZE * index, VRING_DESC_SIZE);
      const { view } = this.#memory;
      const [address, length] = [view.getBigUint64(at, true), view.getUint32(at + 8, true)];
      const [flags, next] = [view.getUint16(at + 12, true), view.getUint16(at + 14, true)];
      if ((flags & VRING_DESC_F_INDIRECT) !== 0) {
        const isAllowed = mayBeIndirect && this.#features.indirect && (flags & VRING_DESC_F_NEXT) === 0;
        if (!isAllowed || length === 0 || length % VRING_DESC_SIZE !== 0 || !this.#isRam(address, length))
          return undefined;
        const inner = this.#walk(Number(address), length / VRING_DESC_SIZE, 0, false);
        return inner === undefined ? undefined : [...segments, ...inner];
      }
      segments.push({ address, length, writable: (flags & VRING_DESC_F_WRITE) !== 0 });
      if ((flags & VRING_DESC_F_NEXT) === 0) return segments;
      index = next;
    }
  }

  /** Buffers are RAM, not empty, no more than 4 GiB in all, and those to be written come last. */
  #areRight(segments: readonly Segment[]): boolean {
    let total = 0;
    let wasWritable = false;
    for (const { address, length, writable } of segments) {
      total += length;
      if (length === 0 || !this.#isRam(address, length) || (wasWritable && !writable)) return false;
      wasWritable = writable;
    }
    return total <= 0xffff_ffff;
  }

  #isRam(address: bigint, length: number): boolean {
    return address + BigInt(length) <= BigInt(this.#memory.size);
  }

  #u16(address: number): number {
    return this.#memory.view.getUint16(this.#memory.offsetOf(address, 2), true);
  }
}

/**
 * Compares what a device takes from its queues with the reference, from now on. Only where nobody else changes memory.
 * @throws from within the device, where they differ
 */
export function watchQueues(core: VirtioCore): void {
  for (const queue of core.queues) watch(queue, core.memory);
}

function watch(queue: VirtQueue, memory: GuestMemory): void {
  const reference = new ReferenceQueue(memory);
  const { enable, disable, pop, unpop, push } = queue;
  queue.enable = (place, features) => {
    const fault = enable.call(queue, place, features);
    if (queue.live) reference.enable(place, features);
    return fault;
  };
  queue.disable = () => {
    reference.disable();
    disable.call(queue);
  };
  queue.unpop = () => {
    reference.putBack();
    unpop.call(queue);
  };
  queue.push = (head, written) => {
    if (queue.live) reference.givenBack();
    push.call(queue, head, written);
  };
  queue.pop = (chain) => {
    const wasLive = queue.live;
    const verdict = wasLive ? reference.look(chain.offsets.length) : 'nothing';
    const found = pop.call(queue, chain);
    const isFault = wasLive && !queue.live;
    if (found !== (typeof verdict === 'object') || isFault !== (verdict === 'fault')) {
      throw new Error(
        `the queue finds ${found ? 'a chain' : isFault ? 'a fault' : 'nothing'}, the reference another thing`,
      );
    }
    if (typeof verdict === 'object') {
      compare(chain, verdict, memory);
      reference.taken();
    }
    return found;
  };
}

function compare(chain: DescriptorChain, segments: readonly Segment[], memory: GuestMemory): void {
  const count = segments.filter(({ writable }) => !writable).length;
  const isSame =
    chain.readFrom === 0 &&
    chain.readTo === count &&
    chain.writeFrom === count &&
    chain.writeTo === segments.length &&
    segments.every(({ address, length }, i) => {
      return chain.offsets[i] === memory.offsetOf(Number(address), length) && chain.lengths[i] === length;
    });
  if (!isSame) throw new Error('the queue takes another chain than the reference');
}
