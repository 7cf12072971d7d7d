import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { DescriptorChain } from '../chain.ts';
import { Fault } from '../faults.ts';
import type { VirtQueue } from '../queue.ts';
import { HEADER_SIZE, NET_QUEUE_SIZE } from './constants.ts';

/** Chains that can be kept, and buffers of each: as many as a queue may have. */
const SLOTS = NET_QUEUE_SIZE;
const SLOT_MASK = SLOTS - 1;

/**
 * Chains that were taken from the receive queue and not given back yet, because which frame needs how many shows only when it has
 * come. Each has a slot; those that no frame has been given room in are `ready`, in order.
 */
export class ReceiveBuffers {
  readonly #memory: GuestMemory;
  readonly #chain: DescriptorChain;
  /** By slot: the chain's head, how many buffers it has, and how many bytes. */
  readonly #heads = new Uint16Array(SLOTS);
  readonly #counts = new Uint16Array(SLOTS);
  readonly #capacities = new Float64Array(SLOTS);
  /** By buffer, then by slot: most chains have one buffer, so most of this is never touched. */
  readonly #offsets = new Float64Array(SLOTS * NET_QUEUE_SIZE);
  readonly #lengths = new Float64Array(SLOTS * NET_QUEUE_SIZE);
  /** A stack of slots without a chain. */
  readonly #free = new Uint16Array(SLOTS);
  #freeCount = 0;
  /** A ring of slots that are ready. */
  readonly #ready = new Uint16Array(SLOTS);
  #readyStart = 0;
  #readyCount = 0;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.#chain = new DescriptorChain(memory, NET_QUEUE_SIZE);
    this.clear();
  }

  /** Forgets all chains: the queue was reset. */
  clear(): void {
    this.#readyCount = 0;
    this.#freeCount = SLOTS;
    for (let i = 0; i < SLOTS; i++) this.#free[i] = i;
  }

  /** Takes a chain, of those that are ready or of the queue. @returns its slot, or -1 where there is none */
  take(queue: VirtQueue): number {
    if (this.#readyCount > 0) {
      const slot = this.#ready[this.#readyStart]!;
      this.#readyStart = (this.#readyStart + 1) & SLOT_MASK;
      this.#readyCount--;
      return slot;
    }
    const chain = this.#chain;
    if (this.#freeCount === 0 || !queue.pop(chain)) return -1;
    if (chain.writableLength < HEADER_SIZE) {
      queue.fail(Fault.RequestAnswer);
      return -1;
    }
    this.#freeCount--;
    const slot = this.#free[this.#freeCount]!;
    const count = chain.writeTo - chain.writeFrom;
    this.#heads[slot] = chain.head;
    this.#counts[slot] = count;
    this.#capacities[slot] = chain.writableLength;
    for (let i = 0; i < count; i++) {
      this.#offsets[i * SLOTS + slot] = chain.offsets[chain.writeFrom + i]!;
      this.#lengths[i * SLOTS + slot] = chain.lengths[chain.writeFrom + i]!;
    }
    return slot;
  }

  /** Puts a chain that was taken back: it is the next to be taken. */
  putBack(slot: number): void {
    this.#readyStart = (this.#readyStart - 1) & SLOT_MASK;
    this.#ready[this.#readyStart] = slot;
    this.#readyCount++;
  }

  /** Gives a chain back to the driver, with so many bytes in it. */
  give(slot: number, written: number, queue: VirtQueue): void {
    queue.push(this.#heads[slot]!, written);
    this.#free[this.#freeCount] = slot;
    this.#freeCount++;
  }

  /** Bytes of a chain. */
  capacity(slot: number): number {
    return this.#capacities[slot]!;
  }

  /** Buffers of a chain. */
  count(slot: number): number {
    return this.#counts[slot]!;
  }

  offset(slot: number, index: number): number {
    return this.#offsets[index * SLOTS + slot]!;
  }

  length(slot: number, index: number): number {
    return this.#lengths[index * SLOTS + slot]!;
  }

  /** Writes a frame's header to the start of its first chain. */
  writeHeader(slot: number, header: DataView, at: number): void {
    if (this.#lengths[slot]! >= HEADER_SIZE) {
      const { view } = this.#memory;
      const offset = this.#offsets[slot]!;
      for (let i = 0; i < HEADER_SIZE; i += 4) view.setUint32(offset + i, header.getUint32(at + i, true), true);
      return;
    }
    for (let i = 0, done = 0; done < HEADER_SIZE; i++) {
      const offset = this.offset(slot, i);
      const length = Math.min(this.length(slot, i), HEADER_SIZE - done);
      for (let k = 0; k < length; k++) this.#memory.bytes[offset + k] = header.getUint8(at + done++);
    }
  }

  /** Copies bytes from `source` to the start of a chain that has room for them. */
  copyInto(slot: number, source: Uint8Array, start: number, count: number): void {
    const { bytes } = this.#memory;
    for (let i = 0, done = 0; done < count; i++) {
      const offset = this.offset(slot, i);
      const length = Math.min(this.length(slot, i), count - done);
      for (let k = 0; k < length; k++) bytes[offset + k] = source[start + done++]!;
    }
  }
}
