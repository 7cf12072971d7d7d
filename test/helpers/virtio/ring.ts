import {
  VRING_AVAIL_F_NO_INTERRUPT,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from '../../../devices/virtio/constants.ts';
import type { QueuePlace } from '../../../devices/virtio/queue.ts';
import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';

/** A buffer of a chain, as the driver knows it. */
export interface DriverBuffer {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

export interface UsedElement {
  readonly head: number;
  readonly length: number;
}

/** Hands out guest memory from an address on, for rings and buffers. */
export class GuestAllocator {
  #next: number;

  constructor(start: number) {
    this.#next = start;
  }

  take(length: number, alignment = 16): number {
    const address = Math.ceil(this.#next / alignment) * alignment;
    this.#next = address + length;
    return address;
  }
}

/** The driver's side of a split virtqueue, written from the specification and sharing no code with the device's side. */
export class DriverRing {
  readonly memory: GuestMemory;
  readonly place: QueuePlace;
  readonly eventIndex: boolean;
  readonly indirect: boolean;
  readonly #allocator: GuestAllocator;
  readonly #free: number[] = [];
  /** Descriptors that a head holds, by head. */
  readonly #held = new Map<number, number[]>();
  readonly #tables = new Map<number, number>();
  #available = 0;
  #announced = 0;
  #used = 0;

  constructor(
    memory: GuestMemory,
    allocator: GuestAllocator,
    size: number,
    options: { eventIndex?: boolean; indirect?: boolean } = {},
  ) {
    this.memory = memory;
    this.#allocator = allocator;
    this.eventIndex = options.eventIndex ?? false;
    this.indirect = options.indirect ?? false;
    this.place = {
      size,
      descriptors: allocator.take(16 * size, 16),
      available: allocator.take(6 + 2 * size, 2),
      used: allocator.take(6 + 8 * size, 4),
    };
    for (let i = size - 1; i >= 0; i--) this.#free.push(i);
  }

  get freeDescriptors(): number {
    return this.#free.length;
  }

  writeDescriptor(address: number, buffer: { address: number; length: number; flags: number; next: number }): void {
    const { view } = this.memory;
    const at = this.memory.offsetOf(address, 16);
    view.setUint32(at, buffer.address % 2 ** 32, true);
    view.setUint32(at + 4, Math.floor(buffer.address / 2 ** 32), true);
    view.setUint32(at + 8, buffer.length, true);
    view.setUint16(at + 12, buffer.flags, true);
    view.setUint16(at + 14, buffer.next, true);
  }

  /** Writes a chain's descriptors. @returns its head, not yet available */
  prepare(buffers: readonly DriverBuffer[]): number {
    if (this.indirect) return this.#prepareIndirect(buffers);
    if (this.#free.length < buffers.length) throw new RangeError('the queue is full');
    const indices = buffers.map(() => this.#free.pop() as number);
    for (const [i, buffer] of buffers.entries()) {
      const next = indices[i + 1];
      const flags = (buffer.writable ? VRING_DESC_F_WRITE : 0) | (next === undefined ? 0 : VRING_DESC_F_NEXT);
      const address = this.place.descriptors + 16 * (indices[i] as number);
      this.writeDescriptor(address, { ...buffer, flags, next: next ?? 0 });
    }
    const head = indices[0] as number;
    this.#held.set(head, indices);
    return head;
  }

  #prepareIndirect(buffers: readonly DriverBuffer[]): number {
    const head = this.#free.pop();
    if (head === undefined) throw new RangeError('the queue is full');
    let table = this.#tables.get(head);
    if (table === undefined) {
      table = this.#allocator.take(16 * 128, 16);
      this.#tables.set(head, table);
    }
    for (const [i, buffer] of buffers.entries()) {
      const last = i === buffers.length - 1;
      const flags = (buffer.writable ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT);
      this.writeDescriptor(table + 16 * i, { ...buffer, flags, next: last ? 0 : i + 1 });
    }
    const length = 16 * buffers.length;
    const address = this.place.descriptors + 16 * head;
    this.writeDescriptor(address, { address: table, length, flags: VRING_DESC_F_INDIRECT, next: 0 });
    this.#held.set(head, [head]);
    return head;
  }

  /** Puts a head into the available ring, without saying so. */
  offer(head: number): void {
    const slot = this.#available % this.place.size;
    this.memory.view.setUint16(this.#at(this.place.available + 4 + 2 * slot, 2), head, true);
    this.#available = (this.#available + 1) % 0x1_0000;
  }

  /** Raises `avail->idx`. @returns whether the device wants a notification */
  announce(): boolean {
    const from = this.#announced;
    this.#announced = this.#available;
    this.memory.view.setUint16(this.#at(this.place.available + 2, 2), this.#available, true);
    if (!this.eventIndex) return (this.#u16(this.place.used) & 1) === 0;
    const event = this.#u16(this.place.used + 4 + 8 * this.place.size);
    return ((this.#available - event - 1) & 0xffff) < ((this.#available - from) & 0xffff);
  }

  /** Makes a chain available. @returns its head */
  add(buffers: readonly DriverBuffer[]): number {
    const head = this.prepare(buffers);
    this.offer(head);
    this.announce();
    return head;
  }

  /** Takes what the device has given back, in order. */
  collect(): UsedElement[] {
    const elements: UsedElement[] = [];
    const end = this.#u16(this.place.used + 2);
    while (this.#used !== end) {
      const at = this.#at(this.place.used + 4 + 8 * (this.#used % this.place.size), 8);
      const head = this.memory.view.getUint32(at, true);
      elements.push({ head, length: this.memory.view.getUint32(at + 4, true) });
      this.#free.push(...(this.#held.get(head) ?? []));
      this.#held.delete(head);
      this.#used = (this.#used + 1) % 0x1_0000;
    }
    // used_event: the next one is to interrupt.
    if (this.eventIndex) this.setUsedEvent(this.#used);
    return elements;
  }

  setUsedEvent(value: number): void {
    this.memory.view.setUint16(this.#at(this.place.available + 4 + 2 * this.place.size, 2), value, true);
  }

  setNoInterrupt(on: boolean): void {
    this.memory.view.setUint16(this.#at(this.place.available, 2), on ? VRING_AVAIL_F_NO_INTERRUPT : 0, true);
  }

  /** Writes `avail->idx` as no driver should. */
  setAvailableIndex(value: number): void {
    this.memory.view.setUint16(this.#at(this.place.available + 2, 2), value, true);
  }

  get availEvent(): number {
    return this.#u16(this.place.used + 4 + 8 * this.place.size);
  }

  get usedFlags(): number {
    return this.#u16(this.place.used);
  }

  #u16(address: number): number {
    return this.memory.view.getUint16(this.#at(address, 2), true);
  }

  #at(address: number, length: number): number {
    return this.memory.offsetOf(address, length);
  }
}
