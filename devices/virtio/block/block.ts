import type { AccessSize } from '../../bus.ts';
import { DescriptorChain } from '../chain.ts';
import { feature, VIRTIO_ID_BLOCK } from '../constants.ts';
import { ConfigSpace, type VirtioDevice, type VirtioHost } from '../device.ts';
import { Fault } from '../faults.ts';
import type { RequestLimiter } from '../limiter.ts';
import type { VirtQueue } from '../queue.ts';
import type { BlockBackend, BlockListener } from './backend.ts';
import {
  BlockConfig,
  RANGE_SIZE,
  REQUEST_HEADER_SIZE,
  SECTOR_SIZE,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_BLK_ID_BYTES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
} from './constants.ts';
import { BlockMetrics } from './metrics.ts';

/** Descriptors of the queue: Firecracker's number. */
export const BLOCK_QUEUE_SIZE = 256;
/** Data buffers of a request: what is left of a chain beside header and status. */
const SEG_MAX = BLOCK_QUEUE_SIZE - 2;
/** The most that one request discards or zeroes, in sectors: a synchronous host is busy with it no longer than is bearable. */
const MAX_DISCARD_SECTORS = 1 << 21;
const MAX_WRITE_ZEROES_SECTORS = 1 << 17;
/** Linux: EOPNOTSUPP, from a file system that cannot punch holes. */
const EOPNOTSUPP = 95;

/** A slot that holds no request. */
const IDLE = 0xff;

export interface BlockOptions {
  readonly id: string;
  /** Whether the guest may ask for durability. */
  readonly flush: boolean;
  readonly limiter?: RequestLimiter | undefined;
}

/** A virtio block device over a backend that knows nothing of virtio. */
export class BlockDevice implements VirtioDevice, BlockListener {
  readonly type = VIRTIO_ID_BLOCK;
  readonly name: string;
  readonly features: bigint;
  readonly queueSizes: readonly number[] = [BLOCK_QUEUE_SIZE];
  readonly metrics = new BlockMetrics();
  readonly #id: Uint8Array;
  readonly #limiter: RequestLimiter | undefined;
  readonly #config = new ConfigSpace(BlockConfig.SIZE);
  #backend: BlockBackend;
  #host: VirtioHost | undefined;
  #queue: VirtQueue | undefined;
  #chain: DescriptorChain | undefined;
  /** What the driver may ask for. */
  #flush = false;
  #discard = false;
  #writeZeroes = false;
  /** Requests in flight, by the index of their chain's head: type, bytes that are to be transferred, where the status goes. */
  readonly #types = new Uint8Array(BLOCK_QUEUE_SIZE).fill(IDLE);
  readonly #lengths = new Float64Array(BLOCK_QUEUE_SIZE);
  readonly #statuses = new Float64Array(BLOCK_QUEUE_SIZE);
  #inFlight = 0;
  /** The queue waits for requests in flight to end. */
  #full = false;

  constructor(backend: BlockBackend, options: BlockOptions) {
    this.name = `drive "${options.id}"`;
    this.#backend = backend;
    this.#limiter = options.limiter;
    this.#id = new TextEncoder().encode(options.id);
    let features = feature(VIRTIO_BLK_F_SEG_MAX) | feature(VIRTIO_BLK_F_BLK_SIZE);
    if (options.flush) features |= feature(VIRTIO_BLK_F_FLUSH);
    if (backend.readOnly) features |= feature(VIRTIO_BLK_F_RO);
    if (backend.canDiscard) features |= feature(VIRTIO_BLK_F_DISCARD);
    if (backend.canWriteZeroes) features |= feature(VIRTIO_BLK_F_WRITE_ZEROES);
    this.features = features;
    this.#describe();
    backend.listener = this;
    options.limiter?.onReady(() => this.#ready());
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.#config.read(offset, size);
  }

  /** Nothing in it is the driver's to write: VIRTIO_BLK_F_CONFIG_WCE is not offered. */
  writeConfig(): void {}

  activate(host: VirtioHost): void {
    this.#host = host;
    this.#queue = host.queues[0]!;
    this.#chain = new DescriptorChain(host.memory, BLOCK_QUEUE_SIZE);
    this.#flush = (host.features & feature(VIRTIO_BLK_F_FLUSH)) !== 0n;
    this.#discard = (host.features & feature(VIRTIO_BLK_F_DISCARD)) !== 0n;
    this.#writeZeroes = (host.features & feature(VIRTIO_BLK_F_WRITE_ZEROES)) !== 0n;
  }

  reset(): void {
    this.resetQueue();
    this.#host = undefined;
    this.#queue = undefined;
  }

  /** Requests in flight end in the old queue, before the driver can take its memory back. */
  resetQueue(): void {
    this.#backend.drain();
    this.#full = false;
  }

  /** Waits until nothing is in flight: before a snapshot, or before the disk changes. */
  drain(): void {
    this.#backend.drain();
  }

  /** Puts another disk in place of this one. It must be as writable, and discard as much, as the driver was told. */
  replace(backend: BlockBackend): void {
    this.#backend.drain();
    this.#backend.listener = undefined;
    this.#backend = backend;
    backend.listener = this;
    this.metrics.update_count++;
    this.#describe();
    this.#host?.configChanged();
  }

  notify(): void {
    const queue = this.#queue!;
    const chain = this.#chain!;
    this.metrics.queue_event_count++;
    // No more than a queue's worth at once: the guest may add buffers as fast as they are taken.
    for (let left = queue.size; left > 0; left--) {
      if (this.#inFlight === this.#backend.depth) {
        this.metrics.io_engine_throttled_events++;
        this.#full = true;
        queue.watched = false;
        break;
      }
      if (!queue.pop(chain)) break;
      if (this.#begin(queue, chain)) continue;
      queue.unpop();
      queue.watched = false;
      break;
    }
    this.#backend.submit();
    this.completed();
  }

  complete(tag: number, result: number): void {
    const type = this.#types[tag]!;
    if (type === IDLE) return;
    const length = this.#lengths[tag]!;
    if (result < 0 || ((type === VIRTIO_BLK_T_IN || type === VIRTIO_BLK_T_OUT) && result !== length)) {
      this.metrics.execute_fails++;
      const unsupported =
        result === -EOPNOTSUPP && (type === VIRTIO_BLK_T_DISCARD || type === VIRTIO_BLK_T_WRITE_ZEROES);
      this.#finish(tag, unsupported ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR, 0);
      return;
    }
    const { metrics } = this;
    if (type === VIRTIO_BLK_T_IN) {
      metrics.read_count++;
      metrics.read_bytes += length;
      this.#finish(tag, VIRTIO_BLK_S_OK, length);
      return;
    }
    if (type === VIRTIO_BLK_T_OUT) {
      metrics.write_count++;
      metrics.write_bytes += length;
    } else if (type === VIRTIO_BLK_T_FLUSH) metrics.flush_count++;
    else if (type === VIRTIO_BLK_T_DISCARD) metrics.discard_count++;
    else metrics.write_zeroes_count++;
    this.#finish(tag, VIRTIO_BLK_S_OK, 0);
  }

  completed(): void {
    if (this.#full && this.#inFlight < this.#backend.depth) {
      this.#full = false;
      this.#queue!.watched = true;
    }
    if (this.#queue?.publish()) this.#host?.interrupt(0);
  }

  /** Starts one request (section 5.2.6). @returns false where the limiter says that it is too early */
  #begin(queue: VirtQueue, chain: DescriptorChain): boolean {
    if (chain.readableLength < REQUEST_HEADER_SIZE) {
      queue.fail(Fault.RequestHeader);
      return true;
    }
    if (chain.writableLength === 0) {
      queue.fail(Fault.RequestAnswer);
      return true;
    }
    const tag = chain.head;
    if (this.#types[tag] !== IDLE) {
      queue.fail(Fault.ChainInUse);
      return true;
    }
    const type = chain.takeU32();
    chain.takeU32();
    const sector = chain.takeNumber64();
    const status = chain.takeLastWritable();
    let length = 0;
    if (type === VIRTIO_BLK_T_IN) length = chain.writableLength;
    else if (type === VIRTIO_BLK_T_OUT) length = chain.readableLength;
    if (this.#limiter !== undefined && !this.#limiter.take(1, length)) {
      this.metrics.rate_limiter_throttled_events++;
      return false;
    }
    this.#inFlight++;
    this.#types[tag] = type;
    this.#lengths[tag] = length;
    this.#statuses[tag] = status;
    const answer = this.#start(tag, type, sector, chain);
    if (answer < 0) return true;
    if (answer !== VIRTIO_BLK_S_OK) this.metrics.invalid_reqs_count++;
    this.#finish(tag, answer, type === VIRTIO_BLK_T_GET_ID && answer === VIRTIO_BLK_S_OK ? VIRTIO_BLK_ID_BYTES : 0);
    return true;
  }

  /** Hands a request to the backend. @returns -1, or its status where it has ended already */
  #start(tag: number, type: number, sector: number, chain: DescriptorChain): number {
    const backend = this.#backend;
    switch (type) {
      case VIRTIO_BLK_T_IN:
        if (!this.#inside(sector, this.#lengths[tag]!)) return VIRTIO_BLK_S_IOERR;
        backend.read(tag, sector * SECTOR_SIZE, chain, chain.writeFrom, chain.writeTo);
        return -1;
      case VIRTIO_BLK_T_OUT:
        if (backend.readOnly || !this.#inside(sector, this.#lengths[tag]!)) return VIRTIO_BLK_S_IOERR;
        backend.write(tag, sector * SECTOR_SIZE, chain, chain.readFrom, chain.readTo);
        return -1;
      case VIRTIO_BLK_T_FLUSH:
        if (!this.#flush) return VIRTIO_BLK_S_UNSUPP;
        backend.flush(tag);
        return -1;
      case VIRTIO_BLK_T_GET_ID:
        if (chain.writableLength < VIRTIO_BLK_ID_BYTES) return VIRTIO_BLK_S_IOERR;
        for (let i = 0; i < VIRTIO_BLK_ID_BYTES; i++) chain.putByte(this.#id[i] ?? 0);
        return VIRTIO_BLK_S_OK;
      case VIRTIO_BLK_T_DISCARD:
        return this.#discard ? this.#startRange(tag, type, chain, MAX_DISCARD_SECTORS) : VIRTIO_BLK_S_UNSUPP;
      case VIRTIO_BLK_T_WRITE_ZEROES:
        return this.#writeZeroes ? this.#startRange(tag, type, chain, MAX_WRITE_ZEROES_SECTORS) : VIRTIO_BLK_S_UNSUPP;
      default:
        return VIRTIO_BLK_S_UNSUPP;
    }
  }

  /** Discard and write zeroes: one range each (section 5.2.6.2 tells which errors are which). */
  #startRange(tag: number, type: number, chain: DescriptorChain, maxSectors: number): number {
    if (chain.readableLength !== RANGE_SIZE) return VIRTIO_BLK_S_UNSUPP;
    const sector = chain.takeNumber64();
    const count = chain.takeU32();
    const flags = chain.takeU32();
    const known = type === VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
    if ((flags & ~known) !== 0) return VIRTIO_BLK_S_UNSUPP;
    const length = count * SECTOR_SIZE;
    const backend = this.#backend;
    if (backend.readOnly || count > maxSectors || !this.#inside(sector, length)) return VIRTIO_BLK_S_IOERR;
    if (type === VIRTIO_BLK_T_DISCARD) backend.discard(tag, sector * SECTOR_SIZE, length);
    else backend.writeZeroes(tag, sector * SECTOR_SIZE, length, flags !== 0);
    return -1;
  }

  /** Whether so many bytes from a sector on are whole sectors of the disk, at least one. */
  #inside(sector: number, length: number): boolean {
    return length > 0 && length % SECTOR_SIZE === 0 && sector + length / SECTOR_SIZE <= this.#backend.sectors;
  }

  /** Answers a request. @param written bytes of data for the driver, before the status */
  #finish(tag: number, status: number, written: number): void {
    this.#inFlight--;
    this.#types[tag] = IDLE;
    this.#host!.memory.bytes[this.#statuses[tag]!] = status;
    this.#queue!.push(tag, written + 1);
  }

  #ready(): void {
    this.metrics.rate_limiter_event_count++;
    if (this.#queue !== undefined) this.#queue.watched = true;
  }

  #describe(): void {
    const { view } = this.#config;
    const backend = this.#backend;
    view.setBigUint64(BlockConfig.capacity, BigInt(backend.sectors), true);
    view.setUint32(BlockConfig.seg_max, SEG_MAX, true);
    view.setUint32(BlockConfig.blk_size, backend.blockSize, true);
    if (backend.canDiscard) {
      view.setUint32(BlockConfig.max_discard_sectors, MAX_DISCARD_SECTORS, true);
      view.setUint32(BlockConfig.max_discard_seg, 1, true);
      view.setUint32(BlockConfig.discard_sector_alignment, backend.blockSize / SECTOR_SIZE, true);
    }
    if (backend.canWriteZeroes) {
      view.setUint32(BlockConfig.max_write_zeroes_sectors, MAX_WRITE_ZEROES_SECTORS, true);
      view.setUint32(BlockConfig.max_write_zeroes_seg, 1, true);
      view.setUint8(BlockConfig.write_zeroes_may_unmap, 1);
    }
  }
}
