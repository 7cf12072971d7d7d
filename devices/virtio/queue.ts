import type { GuestMemory } from '../../lib/memory/guest-memory.ts';
import type { DescriptorChain } from './chain.ts';
import {
  VRING_AVAIL_ALIGN_SIZE,
  VRING_AVAIL_F_NO_INTERRUPT,
  VRING_DESC_ALIGN_SIZE,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
  VRING_DESC_SIZE,
  VRING_USED_ALIGN_SIZE,
  VRING_USED_F_NO_NOTIFY,
} from './constants.ts';
import { Fault } from './faults.ts';

/** Where a driver has put a queue, as guest-physical addresses, and how many descriptors it has. */
export interface QueuePlace {
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
}

/** Which of the ring's features were negotiated. */
export interface QueueFeatures {
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

const NOWHERE = new SharedArrayBuffer(0);

/** Index of `idx` in the u16s of the available and of the used ring, and of the first entry. */
const RING_IDX = 1;
const RING_ENTRIES = 2;

/**
 * A split virtqueue (virtio 1.2 section 2.7), seen by the device.
 *
 * Everything in it belongs to the guest, which may change it at any time: each word is read once, and checked where it is read.
 * What is wrong is reported once to `onFault`; from then on the queue is empty until it is reset. Allocates nothing but in `enable`.
 */
export class VirtQueue {
  readonly index: number;
  readonly maxSize: number;
  readonly #memory: GuestMemory;
  readonly #onFault: (fault: Fault) => void;
  /**
   * Whether the device wants to be told of available buffers. While it is not (a limiter holds it, or it has no use for them now),
   * the queue is neither polled nor are notifications asked for.
   */
  watched = true;
  /** The ring may be used: the driver has enabled it, and it is not at fault. */
  live = false;
  #size = 0;
  #mask = 0;
  #indirect = false;
  #eventIndex = false;
  #descriptors = new Uint32Array(NOWHERE);
  #available = new Uint16Array(NOWHERE);
  #used = new Uint32Array(NOWHERE);
  #usedHalves = new Uint16Array(NOWHERE);
  /** `avail->idx` as it was read last, and up to where its entries were taken. */
  #availableSeen = 0;
  #availableNext = 0;
  /** `used->idx` as it was written last, and up to where its entries are filled. */
  #usedPublished = 0;
  #usedNext = 0;
  /** Chains that the device has taken and not given back. */
  #inFlight = 0;

  /** @param maxSize a power of two up to 32768 */
  constructor(index: number, maxSize: number, memory: GuestMemory, onFault: (fault: Fault) => void) {
    this.index = index;
    this.maxSize = maxSize;
    this.#memory = memory;
    this.#onFault = onFault;
  }

  /** Descriptors; 0 while it is not enabled. */
  get size(): number {
    return this.#size;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Starts to use the ring where the driver has put it. @returns why it cannot, or `Fault.None` */
  enable(place: QueuePlace, features: QueueFeatures): Fault {
    this.disable();
    const { size, descriptors, available, used } = place;
    if (size < 1 || size > this.maxSize || (size & (size - 1)) !== 0) return Fault.QueueSize;
    if (
      descriptors % VRING_DESC_ALIGN_SIZE !== 0 ||
      available % VRING_AVAIL_ALIGN_SIZE !== 0 ||
      used % VRING_USED_ALIGN_SIZE !== 0
    ) {
      return Fault.QueueAlignment;
    }
    const { buffer } = this.#memory;
    // Section 2.7: flags, idx, entries, and the event index behind them, which is there whether negotiated or not.
    const availableHalves = 3 + size;
    const usedWords = 1 + 2 * size;
    const descriptorsOffset = this.#memory.tryOffsetOf(descriptors, VRING_DESC_SIZE * size);
    const availableOffset = this.#memory.tryOffsetOf(available, 2 * availableHalves);
    const usedOffset = this.#memory.tryOffsetOf(used, 4 * usedWords + 2);
    if (descriptorsOffset < 0 || availableOffset < 0 || usedOffset < 0) return Fault.QueueAddress;
    this.#descriptors = new Uint32Array(buffer, descriptorsOffset, 4 * size);
    this.#available = new Uint16Array(buffer, availableOffset, availableHalves);
    this.#used = new Uint32Array(buffer, usedOffset, usedWords);
    this.#usedHalves = new Uint16Array(buffer, usedOffset, 2 * usedWords + 1);
    this.#size = size;
    this.#mask = size - 1;
    this.#indirect = features.indirect;
    this.#eventIndex = features.eventIndex;
    this.live = true;
    return Fault.None;
  }

  /** Forgets the ring (device reset, VIRTIO_F_RING_RESET). */
  disable(): void {
    this.live = false;
    this.watched = true;
    this.#size = 0;
    this.#availableSeen = 0;
    this.#availableNext = 0;
    this.#usedPublished = 0;
    this.#usedNext = 0;
    this.#inFlight = 0;
  }

  /** Stops using the ring, because of something that the driver did; `onFault` tells the rest. */
  fail(fault: Fault): void {
    if (!this.live) return;
    this.live = false;
    this.#onFault(fault);
  }

  /** Whether there is a buffer to take. */
  get pending(): boolean {
    if (!this.live) return false;
    return (
      this.#availableNext !== this.#availableSeen || Atomics.load(this.#available, RING_IDX) !== this.#availableNext
    );
  }

  /** Takes the next available chain. @returns whether there was one that is as it should be */
  pop(chain: DescriptorChain): boolean {
    if (!this.live) return false;
    const next = this.#availableNext;
    if (next === this.#availableSeen && !this.#lookForMore()) return false;
    const head = this.#available[RING_ENTRIES + (next & this.#mask)]!;
    const fault = head < this.#size ? this.#read(head, chain) : Fault.AvailEntry;
    if (fault !== Fault.None) {
      this.fail(fault);
      return false;
    }
    this.#availableNext = (next + 1) & 0xffff;
    this.#inFlight++;
    return true;
  }

  /** Puts back the chain that was taken last: the next `pop` reads it again. */
  unpop(): void {
    this.#availableNext = (this.#availableNext - 1) & 0xffff;
    this.#inFlight--;
  }

  /**
   * Gives a chain back, with so many bytes written to its writable buffers. The driver sees it after `publish`.
   * Chains that were taken before a reset must not be given back after it.
   */
  push(head: number, written: number): void {
    if (!this.live) return;
    const word = 1 + 2 * (this.#usedNext & this.#mask);
    this.#used[word] = head;
    this.#used[word + 1] = written;
    this.#usedNext = (this.#usedNext + 1) & 0xffff;
    this.#inFlight--;
  }

  /** Shows the driver what was given back. @returns whether it wants an interrupt for it */
  publish(): boolean {
    const from = this.#usedPublished;
    const to = this.#usedNext;
    if (from === to || !this.live) return false;
    this.#usedPublished = to;
    // A store with a full barrier behind it: the driver's wish is read after it has been able to see `to` (section 2.7.7.2).
    Atomics.store(this.#usedHalves, RING_IDX, to);
    if (!this.#eventIndex) return (Atomics.load(this.#available, 0) & VRING_AVAIL_F_NO_INTERRUPT) === 0;
    // `used_event` lies behind the available ring: did `idx` pass it? (section 2.7.7.2; vring_need_event in <linux/virtio_ring.h>)
    const event = Atomics.load(this.#available, RING_ENTRIES + this.#size);
    return ((to - event - 1) & 0xffff) < ((to - from) & 0xffff);
  }

  /** Asks the driver for a notification at its next buffer. @returns whether there is one already, so that none may come */
  listen(): boolean {
    if (!this.live) return false;
    const next = this.#availableNext;
    // `avail_event` lies behind the used ring. A store with a full barrier behind it: a buffer is seen either here or by a notification.
    if (this.#eventIndex) Atomics.store(this.#usedHalves, RING_ENTRIES + 4 * this.#size, next);
    else Atomics.store(this.#usedHalves, 0, 0);
    return Atomics.load(this.#available, RING_IDX) !== next;
  }

  /** Tells the driver that it need not notify. With event indices, an old `avail_event` says so by itself. */
  ignore(): void {
    if (this.live && !this.#eventIndex) this.#usedHalves[0] = VRING_USED_F_NO_NOTIFY;
  }

  /** Reads `avail->idx`. @returns whether there is something new */
  #lookForMore(): boolean {
    // The entries are read after this: a driver writes them before it raises `idx`.
    const seen = Atomics.load(this.#available, RING_IDX);
    const pending = (seen - this.#availableNext) & 0xffff;
    if (pending === 0) return false;
    if (pending + this.#inFlight > this.#size) {
      this.fail(Fault.AvailIndex);
      return false;
    }
    this.#availableSeen = seen;
    return true;
  }

  #read(head: number, chain: DescriptorChain): Fault {
    chain.begin(head);
    const table = this.#descriptors;
    const size = this.#size;
    let index = head;
    for (let left = size; left > 0; left--) {
      const word = index << 2;
      const address = table[word + 1]! * 0x1_0000_0000 + table[word]!;
      const length = table[word + 2]!;
      const last = table[word + 3]!;
      if ((last & VRING_DESC_F_INDIRECT) !== 0) {
        if (!this.#indirect) return Fault.IndirectFeature;
        if ((last & VRING_DESC_F_NEXT) !== 0) return Fault.IndirectNext;
        return this.#readIndirect(address, length, chain);
      }
      const fault = chain.add(address, length, (last & VRING_DESC_F_WRITE) !== 0);
      if (fault !== Fault.None || (last & VRING_DESC_F_NEXT) === 0) return fault;
      index = last >>> 16;
      if (index >= size) return Fault.DescriptorNext;
    }
    return Fault.ChainLength;
  }

  /** Section 2.7.5.3: a table of descriptors anywhere in memory, of any alignment. */
  #readIndirect(address: number, length: number, chain: DescriptorChain): Fault {
    if (length === 0 || length % VRING_DESC_SIZE !== 0) return Fault.IndirectLength;
    const offset = this.#memory.tryOffsetOf(address, length);
    if (offset < 0) return Fault.IndirectAddress;
    const { view } = this.#memory;
    const count = length / VRING_DESC_SIZE;
    let index = 0;
    // A table may be larger than a chain may be long, and loop: `chain` has room for no more than the queue's largest size.
    while (index < count) {
      const at = offset + index * VRING_DESC_SIZE;
      const start = view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
      const size = view.getUint32(at + 8, true);
      const last = view.getUint32(at + 12, true);
      if ((last & VRING_DESC_F_INDIRECT) !== 0) return Fault.IndirectNested;
      const fault = chain.add(start, size, (last & VRING_DESC_F_WRITE) !== 0);
      if (fault !== Fault.None || (last & VRING_DESC_F_NEXT) === 0) return fault;
      index = last >>> 16;
    }
    return Fault.DescriptorNext;
  }
}
