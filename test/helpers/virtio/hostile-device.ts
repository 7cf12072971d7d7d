import {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from '../../../devices/virtio/constants.ts';
import { Fault } from '../../../devices/virtio/faults.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import type { Driver } from './driver.ts';
import { restoreFunction, touchRegister } from './hostile-registers.ts';
import { GuestAllocator } from './ring.ts';
import { below, onceIn, pick, type Tape } from './tape.ts';

/** Bytes before and behind guest memory in its buffer, which nobody may touch. */
const MARGIN = 4096;
const CANARY = 0x5a;
const MEMORY_SIZE = 512 * 1024;
/** Where hostile chains have their tables and data, and honest ones theirs. */
const TABLES = 0x1_0000;
const SCRATCH = 0x2_0000;
const SCRATCH_SIZE = 0x2_0000;
const HEADER_STEP = 0x2000;
const HONEST = 0x4_0000;
const TABLE_ENTRIES = 64;

const LENGTHS = [1, 2, 11, 12, 13, 26, 60, 512, 1526, 4096, 0x1_0000];
const WRONG_LENGTHS = [0, 0x7fff_ffff, 0xffff_ffff, MEMORY_SIZE];
const WRONG_ADDRESSES = [MEMORY_SIZE - 1, MEMORY_SIZE, 0xd000_0000, 2 ** 32, 2 ** 52, 2 ** 64 - 4096];

/** A device that a hostile guest has, and what can happen around it. */
export interface HostileSubject {
  readonly driver: Driver;
  /** What honest drivers accept. */
  readonly features: readonly number[];
  /** By queue: whether the driver gives the device buffers to write. */
  readonly writable: readonly boolean[];
  /** Something happens at the host's end. */
  happen(tape: Tape): void;
  /** Makes the device want what is in each of its queues. */
  use(): void;
  /** Throws where the device does not do what it is for. The driver is started, and its allocator points at room for buffers. */
  proveAlive(): void;
}

/** One of the places where chains often have their first buffer: a header there is read as one. */
export function headerPlace(tape: Tape): number {
  return SCRATCH + HEADER_STEP * below(tape, SCRATCH_SIZE / HEADER_STEP);
}

/** Memory for a hostile guest, with margins that are watched. */
export function hostileMemory(): GuestMemory {
  const buffer = new SharedArrayBuffer(MEMORY_SIZE + 2 * MARGIN);
  new Uint8Array(buffer).fill(CANARY);
  return new GuestMemory(buffer, MARGIN, MEMORY_SIZE);
}

/**
 * A guest that does what a tape says to one device of any kind: chains that are nearly right on each of its queues, memory that changes
 * under it, registers in any order, notifications, resets and queue resets at any time. What it finds is thrown.
 */
export class HostileDevice {
  readonly faults = new Array<number>(Object.keys(Fault).length).fill(0);
  chains = 0;
  registerAccesses = 0;
  resets = 0;
  readonly subject: HostileSubject;
  /** Called before the proof that the device still works: whoever else harms it is to stop. */
  beforeProof: () => void = () => {};
  #rarity = 64;
  #next = 0;
  /** Registers are touched as often as chains are offered. */
  #meddling = false;

  constructor(subject: HostileSubject) {
    this.subject = subject;
    const log = subject.driver.core.faults;
    const report = log.report.bind(log);
    log.report = (fault) => {
      this.faults[fault]!++;
      report(fault);
    };
  }

  /** Does what the tape says, up to `steps` things or its end, then proves that the device still works. */
  run(tape: Tape, steps: number): void {
    this.#start(tape);
    for (let i = 0; i < steps && !tape.ended; i++) this.#step(tape);
    this.beforeProof();
    this.prove();
  }

  /** Resets the device as an honest driver does, and proves that it works and that nothing outside the guest was touched. */
  prove(): void {
    const { driver, features } = this.subject;
    this.#checkMargins();
    driver.allocator = new GuestAllocator(HONEST);
    // An honest driver's rings begin empty.
    driver.memory.bytes.fill(0, MARGIN + HONEST, MARGIN + HONEST + 0x1000);
    restoreFunction(driver);
    driver.start({ features, queueSize: 16 });
    this.subject.proveAlive();
    this.#checkMargins();
  }

  #start(tape: Tape): void {
    const { driver, features } = this.subject;
    this.resets++;
    restoreFunction(driver);
    this.#meddling = onceIn(tape, 8);
    this.#rarity = pick(tape, [12, 100, 1000, 10_000]);
    driver.allocator = new GuestAllocator(0x1000);
    if (!onceIn(tape, 16)) driver.memory.bytes.fill(0, MARGIN + 0x1000, MARGIN + TABLES);
    if (onceIn(tape, 16)) this.#acceptTooMuch(tape);
    if (onceIn(tape, 16)) this.#startWithoutQueues();
    const accepted = features.filter(() => !onceIn(tape, 5));
    driver.start({ features: accepted, queueSize: 1 << below(tape, 9) });
  }

  /** Features that were never offered are not agreed on. */
  #acceptTooMuch(tape: Tape): void {
    const { driver } = this.subject;
    const unoffered = 1n << BigInt(below(tape, 64));
    if ((driver.features & unoffered) !== 0n) return;
    driver.registers.status = 0;
    driver.registers.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    if (driver.accept(driver.features | unoffered)) throw new Error('a feature that was not offered is agreed on');
  }

  /** Queues of an earlier life are not used in this one, whatever lies where they were. */
  #startWithoutQueues(): void {
    const { driver } = this.subject;
    driver.registers.status = 0;
    driver.registers.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    driver.accept(driver.features);
    driver.registers.status |= VIRTIO_CONFIG_S_DRIVER_OK;
    for (const ring of driver.rings) ring.setAvailableIndex(1);
    if (driver.core.poll() || driver.core.listen()) throw new Error('a queue is used that was not enabled');
  }

  #step(tape: Tape): void {
    const { driver, writable } = this.subject;
    if (this.#meddling && onceIn(tape, 2)) {
      for (let i = below(tape, 32); i >= 0; i--) {
        this.registerAccesses++;
        touchRegister(tape, driver);
      }
    }
    const queue = below(tape, writable.length);
    switch (below(tape, 12)) {
      case 0:
        driver.registers.notify(pick(tape, [queue, queue, 7, 0xffff]));
        break;
      case 1:
        this.#poke(tape);
        break;
      case 2:
        if (onceIn(tape, 4)) driver.registers.resetQueue(queue);
        if (onceIn(tape, 2)) driver.registers.enableQueue(queue);
        break;
      case 3:
        if (onceIn(tape, 8)) this.#start(tape);
        break;
      case 4:
        driver.core.listen();
        if (onceIn(tape, 2)) driver.core.ignore();
        break;
      case 5:
        driver.registers.writeConfig(below(tape, 32), pick(tape, [1, 2, 4] as const), tape.next() & 0xff);
        driver.registers.readConfig(below(tape, 64), pick(tape, [1, 2, 4] as const));
        break;
      case 6:
      case 7:
        this.subject.happen(tape);
        break;
      default:
        for (let count = below(tape, 5); count >= 0; count--) this.#offerChain(tape, queue);
        this.#poll();
    }
    if ((driver.core.status & VIRTIO_CONFIG_S_NEEDS_RESET) === 0) return;
    this.subject.happen(tape);
    this.#poll();
    if (!onceIn(tape, 4)) this.#start(tape);
  }

  /** Looks at the rings until nothing is found: a device that goes on for ever is at fault itself. */
  #poll(): void {
    for (let looks = 0; this.subject.driver.core.poll(); looks++) {
      if (looks > 70_000) throw new Error('the device does not come to an end');
    }
  }

  /** A chain that is mostly as the queue's chains are. */
  #offerChain(tape: Tape, queue: number): void {
    this.chains++;
    const { driver, writable } = this.subject;
    const ring = driver.rings[queue];
    if (ring === undefined) return;
    const { size, descriptors, available } = ring.place;
    const indirect = onceIn(tape, 3);
    const table = indirect ? TABLES + 16 * below(tape, 64) : descriptors;
    const entries = indirect ? TABLE_ENTRIES : size;
    const count = Math.min(entries, 1 + below(tape, this.#odd(tape) ? 70 : 6));
    const first = indirect ? 0 : this.#next % entries;
    for (let i = 0; i < count; i++) {
      let flags = (writable[queue] ? VRING_DESC_F_WRITE : 0) | (i < count - 1 ? VRING_DESC_F_NEXT : 0);
      if (this.#odd(tape)) flags ^= 1 << below(tape, 4);
      const next = (first + i + 1) % entries;
      ring.writeDescriptor(table + 16 * ((first + i) % entries), {
        address: this.#odd(tape) ? pick(tape, WRONG_ADDRESSES) : this.#place(tape),
        length: this.#odd(tape) ? pick(tape, WRONG_LENGTHS) : pick(tape, LENGTHS),
        flags,
        next: this.#odd(tape) ? tape.next() & 0xffff : next,
      });
    }
    this.#next += count;
    let head = first;
    if (indirect) {
      head = this.#next++ % size;
      ring.writeDescriptor(descriptors + 16 * head, {
        address: this.#odd(tape) ? pick(tape, WRONG_ADDRESSES) : table,
        length: this.#odd(tape) ? tape.next() & 0xfff : 16 * count,
        flags: VRING_DESC_F_INDIRECT | (this.#odd(tape) ? tape.next() & 0xffff : 0),
        next: 0,
      });
    }
    if (this.#odd(tape)) head = tape.next() & 0xffff;
    const { view } = driver.memory;
    const at = driver.memory.offsetOf(available + 2, 2);
    const idx = view.getUint16(at, true);
    view.setUint16(driver.memory.offsetOf(available + 4 + 2 * (idx % size), 2), head, true);
    view.setUint16(at, (idx + (this.#odd(tape) ? tape.next() : 1)) & 0xffff, true);
  }

  /** Where a buffer lies: anywhere, or where headers may have been put. */
  #place(tape: Tape): number {
    return onceIn(tape, 2) ? headerPlace(tape) : SCRATCH + below(tape, SCRATCH_SIZE);
  }

  #odd(tape: Tape): boolean {
    return onceIn(tape, this.#rarity);
  }

  /** Changes what chains hold, or anything. */
  #poke(tape: Tape): void {
    const { memory } = this.subject.driver;
    const anywhere = onceIn(tape, 8);
    for (let i = below(tape, 16); i >= 0; i--) {
      const address = anywhere ? tape.next() % (MEMORY_SIZE - 2) : SCRATCH + below(tape, SCRATCH_SIZE);
      // Small numbers, of which headers are made, more often than large ones.
      const value = onceIn(tape, 2) ? below(tape, 8) : tape.next() & 0xffff;
      memory.view.setUint16(memory.offsetOf(address, 2), value, true);
    }
  }

  #checkMargins(): void {
    const { bytes } = this.subject.driver.memory;
    for (let i = 0; i < MARGIN; i++) {
      if (bytes[i] !== CANARY || bytes[MARGIN + MEMORY_SIZE + i] !== CANARY) {
        throw new Error('memory outside the guest was touched');
      }
    }
  }
}
