import { BlockDevice } from '../../../devices/virtio/block/block.ts';
import * as blk from '../../../devices/virtio/block/constants.ts';
import {
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from '../../../devices/virtio/constants.ts';
import { Fault } from '../../../devices/virtio/faults.ts';
import type { RateLimiterConfig } from '../../../lib/config/types.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { BLOCK_FEATURES, BlockDriver } from './block-driver.ts';
import type { TransportName } from './driver.ts';
import { TestLimiter } from './hostile-limiter.ts';
import { restoreFunction, touchRegister } from './hostile-registers.ts';
import { MemoryDisk } from './memory-disk.ts';
import { GuestAllocator } from './ring.ts';
import { below, onceIn, pick, type Tape } from './tape.ts';

/** Bytes before and behind guest memory in its buffer, which nobody may touch. */
const MARGIN = 4096;
const CANARY = 0x5a;
const MEMORY_SIZE = 256 * 1024;
/** Where hostile chains have their data, and honest ones theirs. */
const SCRATCH = 0x8000;
const HONEST = 0x2_0000;
const DISK_SIZE = 64 * 1024;

const TYPES = [0, 0, 0, 1, 1, 1, 4, 8, 11, 13, 2, 0xff, 0xffff_ffff];
const LENGTHS = [1, 16, 20, 512, 512, 512, 1024, 4096, 511, 513, 0, 3, 0x1_0000, 0x7fff_ffff, 0xffff_ffff];
const ADDRESSES = [
  MEMORY_SIZE - 1,
  MEMORY_SIZE,
  MEMORY_SIZE - 512,
  0xd000_0000,
  0xffff_ffff,
  0x1_0000_0000,
  2 ** 52,
  0xffff_ffff * 0x1_0000_0000 + 0xffff_f000,
];

const UNLIMITED: RateLimiterConfig = { bandwidth: undefined, ops: undefined };

export interface HostileOptions {
  readonly slow: boolean;
  readonly readOnly: boolean;
  /** Default: none. */
  readonly limits?: RateLimiterConfig;
}

export interface HostileCounts {
  chains: number;
  registerAccesses: number;
  resets: number;
  /** By number of the fault. */
  readonly faults: number[];
}

/**
 * A guest that does what a tape says to one block device: chains that are nearly right, rings that change under the device, registers in
 * any order, resets at any time. What it finds is thrown.
 */
export class HostileGuest {
  readonly counts: HostileCounts;
  readonly disk: MemoryDisk;
  readonly driver: BlockDriver;
  readonly memory: GuestMemory;
  /** Called before the proof that the device still works: whoever else harms it is to stop. */
  beforeProof: () => void = () => {};
  readonly #limiter: TestLimiter;
  readonly #readOnlyCopy: Uint8Array | undefined;
  #table = SCRATCH;
  /** Registers are touched as often as chains are offered. */
  #meddling = false;
  #nextDescriptor = 0;
  /** Something about a chain is wrong once in so many times. */
  #rarity = 64;

  constructor(transport: TransportName, options: HostileOptions) {
    const buffer = new SharedArrayBuffer(MEMORY_SIZE + 2 * MARGIN);
    new Uint8Array(buffer).fill(CANARY);
    this.memory = new GuestMemory(buffer, MARGIN, MEMORY_SIZE);
    this.disk = new MemoryDisk(DISK_SIZE, options);
    this.disk.logging = false;
    if (options.slow) this.disk.depth = 8;
    for (let i = 0; i < DISK_SIZE; i++) this.disk.bytes[i] = i * 7;
    this.#readOnlyCopy = options.readOnly ? this.disk.bytes.slice() : undefined;
    this.#limiter = new TestLimiter(options.limits ?? UNLIMITED);
    const device = new BlockDevice(this.disk, { id: 'fuzzed', flush: true, limiter: this.#limiter.limiter });
    this.driver = new BlockDriver(transport, device, this.memory);
    const faults = new Array<number>(Object.keys(Fault).length).fill(0);
    this.counts = { chains: 0, registerAccesses: 0, resets: 0, faults };
    const log = this.driver.core.faults;
    const report = log.report.bind(log);
    log.report = (fault) => {
      faults[fault]!++;
      report(fault);
    };
  }

  /** Does what the tape says, up to `steps` things or its end, then proves that the device still works. */
  run(tape: Tape, steps: number): void {
    this.#start(tape);
    for (let i = 0; i < steps && !tape.ended; i++) this.#step(tape);
    this.beforeProof();
    this.#checkInFlight();
    this.check();
    this.proveAlive();
  }

  /** A device that has ended all that it began holds nothing of the driver's. */
  #checkInFlight(): void {
    this.disk.drain();
    const [queue] = this.driver.core.queues;
    if (queue!.live && queue!.inFlight !== 0) throw new Error('a chain is never given back');
  }

  /** Throws where anything was touched that must not be. */
  check(): void {
    const { bytes } = this.memory;
    for (let i = 0; i < MARGIN; i++) {
      if (bytes[i] !== CANARY || bytes[MARGIN + MEMORY_SIZE + i] !== CANARY)
        throw new Error('memory outside the guest');
    }
    const copy = this.#readOnlyCopy;
    if (copy === undefined) return;
    for (let i = 0; i < DISK_SIZE; i++)
      if (copy[i] !== this.disk.bytes[i]) throw new Error('a read-only disk was written');
  }

  /** Resets the device as an honest driver does, and reads and writes a sector. */
  proveAlive(): void {
    this.disk.errno = 0;
    this.disk.shortBy = 0;
    this.#limiter.limiter.update(UNLIMITED);
    const { driver, disk } = this;
    restoreFunction(this.driver);
    driver.allocator = new GuestAllocator(HONEST);
    // An honest driver's rings begin empty.
    this.memory.bytes.fill(0, MARGIN + HONEST, MARGIN + HONEST + 0x1000);
    driver.start({ features: BLOCK_FEATURES, queueSize: 16 });
    const sector = 5;
    const write = this.disk.readOnly ? driver.flush() : driver.write(sector, new Uint8Array(512).fill(0xa5));
    driver.core.poll();
    disk.drain();
    const read = driver.read(sector, 512);
    driver.core.poll();
    disk.drain();
    const expected = disk.bytes.subarray(sector * 512, (sector + 1) * 512);
    if (driver.status(write) !== 0 || driver.status(read) !== 0) throw new Error('the device does not work any more');
    if (Buffer.compare(driver.data(read), expected) !== 0) throw new Error('the device reads something else');
    if (driver.ring().collect().length !== 2) throw new Error('the device gave back other chains');
  }

  #start(tape: Tape): void {
    restoreFunction(this.driver);
    this.counts.resets++;
    this.#meddling = onceIn(tape, 4);
    this.#rarity = pick(tape, [12, 100, 1000, 10_000]);
    this.driver.allocator = new GuestAllocator(pick(tape, [0x1000, 0x1000, 0x2010]));
    if (onceIn(tape, 16)) this.#placeBadQueue(tape);
    // Rings begin empty, mostly.
    if (!onceIn(tape, 16)) this.memory.bytes.fill(0, MARGIN + 0x1000, MARGIN + SCRATCH);
    const features = BLOCK_FEATURES.filter((bit) => (bit > 27 ? !onceIn(tape, 4) : true));
    this.driver.start({ features: onceIn(tape, 2) ? [...features, 40] : features, queueSize: 1 << below(tape, 8) });
  }

  #step(tape: Tape): void {
    const { core } = this.driver;
    if (this.#meddling && onceIn(tape, 2)) {
      for (let i = below(tape, 32); i >= 0; i--) this.#touchRegister(tape);
    }
    switch (below(tape, 16)) {
      case 0:
        if (onceIn(tape, 4)) this.#poke(tape);
        break;
      case 1:
        if (onceIn(tape, 2)) this.#touchRegister(tape);
        break;
      case 2:
        this.driver.registers.notify(pick(tape, [0, 0, 0, 1, 0xffff]));
        break;
      case 3:
        core.listen();
        if (onceIn(tape, 2)) core.ignore();
        break;
      case 4:
        this.disk.errno = pick(tape, [0, 0, 5, 28, 95]);
        this.disk.shortBy = pick(tape, [0, 0, 0, 512]);
        this.disk.finish(below(tape, 8));
        this.#limiter.advance(pick(tape, [0, 1, 100, 2000]));
        break;
      case 5:
        if (onceIn(tape, 8)) this.driver.registers.resetQueue(0);
        if (onceIn(tape, 2)) this.driver.registers.enableQueue(0);
        break;
      case 6:
        if (onceIn(tape, 8)) this.#start(tape);
        break;
      default:
        this.#offerChains(tape);
        this.#poll();
    }
    if ((core.status & VIRTIO_CONFIG_S_NEEDS_RESET) !== 0) {
      // A device that needs a reset stays as it is whatever is done, until it gets one.
      this.#poll();
      if (!onceIn(tape, 4)) this.#start(tape);
    }
  }

  /** Looks at the rings until nothing is found: a device that goes on for ever is at fault itself. */
  #poll(): void {
    for (let looks = 0; this.driver.core.poll(); looks++) {
      if (looks > 70_000) throw new Error('the device does not come to an end');
    }
  }

  #placeBadQueue(tape: Tape): void {
    const { registers } = this.driver;
    registers.status = 0;
    registers.status = 3;
    this.driver.accept(this.driver.features);
    registers.placeQueue(0, {
      size: pick(tape, [0, 3, 8, 512, 0xffff]),
      descriptors: pick(tape, [0x1000, 0x1008, MEMORY_SIZE - 16]),
      available: pick(tape, [0x2000, 0x2001, MEMORY_SIZE - 2]),
      used: pick(tape, [0x3000, 0x3002, 0xd000_0000]),
    });
    registers.enableQueue(0);
  }

  /** A few requests, mostly no more than the queue has room for. */
  #offerChains(tape: Tape): void {
    const { size } = this.driver.ring().place;
    const room = this.#odd(tape) ? size + 1 : size - (this.driver.core.queues[0]?.inFlight ?? 0);
    for (let count = Math.min(1 + below(tape, 4), room); count > 0; count--) this.#offerChain(tape);
  }

  /** A request that is mostly as it should be. */
  #offerChain(tape: Tape): void {
    this.counts.chains++;
    const ring = this.driver.ring();
    const { size, descriptors, available } = ring.place;
    const type = pick(tape, TYPES);
    const header = SCRATCH + 16 * below(tape, 64);
    const { view } = this.memory;
    const at = this.memory.offsetOf(header, 16);
    view.setUint32(at, type, true);
    view.setUint32(at + 8, onceIn(tape, 6) ? tape.next() : below(tape, DISK_SIZE / 512 + 2), true);
    view.setUint32(at + 12, onceIn(tape, 8) ? tape.next() : 0, true);
    const buffers = this.#odd(tape) ? below(tape, 70) : below(tape, Math.min(5, size));
    const indirect = onceIn(tape, 3);
    const table = indirect ? SCRATCH + 0x2000 + 16 * below(tape, 32) : descriptors;
    const entries = indirect ? 64 : size;
    const first = indirect ? 0 : this.#nextDescriptor % entries;
    let index = first;
    this.#table = table;
    const dataWritable = type === blk.VIRTIO_BLK_T_IN || type === blk.VIRTIO_BLK_T_GET_ID;
    for (let i = 0; i <= buffers + 1; i++) {
      const last = i === buffers + 1;
      const next = (index + 1) % entries;
      const writable = last || (i > 0 && dataWritable);
      const length = i === 0 ? 16 : last ? 1 : this.#odd(tape) ? pick(tape, LENGTHS) : 512;
      const address = i === 0 ? header : SCRATCH + 0x1_0000 + 512 * below(tape, 64);
      this.#writeDescriptor(tape, index, address, length, writable, last ? undefined : next);
      index = next;
    }
    this.#nextDescriptor += buffers + 2;
    let head = first;
    if (indirect) {
      head = this.#nextDescriptor++ % size;
      this.#table = descriptors;
      const length = this.#odd(tape) ? tape.next() & 0xfff : 16 * Math.max(buffers + 2, below(tape, 64));
      ring.writeDescriptor(descriptors + 16 * head, {
        address: this.#odd(tape) ? pick(tape, ADDRESSES) : table,
        length,
        flags: VRING_DESC_F_INDIRECT | (this.#odd(tape) ? tape.next() & 0xffff : 0),
        next: below(tape, size + 1),
      });
    }
    if (this.#odd(tape)) head = tape.next() & 0xffff;
    const idxAt = this.memory.offsetOf(available + 2, 2);
    const idx = view.getUint16(idxAt, true);
    view.setUint16(this.memory.offsetOf(available + 4 + 2 * (idx % size), 2), head, true);
    view.setUint16(idxAt, (idx + (this.#odd(tape) ? tape.next() : 1)) & 0xffff, true);
  }

  #writeDescriptor(
    tape: Tape,
    index: number,
    address: number,
    length: number,
    writable: boolean,
    next: number | undefined,
  ): void {
    let flags = (writable ? VRING_DESC_F_WRITE : 0) | (next === undefined ? 0 : VRING_DESC_F_NEXT);
    if (this.#odd(tape)) flags ^= 1 << below(tape, 4);
    this.driver.ring().writeDescriptor(this.#table + 16 * index, {
      address: this.#odd(tape) ? pick(tape, ADDRESSES) : address,
      length: this.#odd(tape) ? pick(tape, LENGTHS) : length,
      flags,
      next: this.#odd(tape) ? tape.next() & 0xffff : (next ?? 0),
    });
  }

  #odd(tape: Tape): boolean {
    return onceIn(tape, this.#rarity);
  }

  /** Changes a word of the rings, or of anything else. */
  #poke(tape: Tape): void {
    const { descriptors, available, used, size } = this.driver.ring().place;
    const place = pick(tape, [
      descriptors + (tape.next() % (16 * size)),
      available + (tape.next() % 8),
      used + (tape.next() % 8),
    ]);
    const address = onceIn(tape, 4) ? tape.next() % MEMORY_SIZE : place;
    const offset = this.memory.tryOffsetOf(address, 2);
    if (offset >= 0) this.memory.view.setUint16(offset, tape.next() & 0xffff, true);
  }

  #touchRegister(tape: Tape): void {
    this.counts.registerAccesses++;
    touchRegister(tape, this.driver);
  }
}
