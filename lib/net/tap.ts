import { feature } from '../../devices/virtio/constants.ts';
import type { NetBackend, NetListener } from '../../devices/virtio/net/backend.ts';
import {
  HEADER_SIZE,
  MAX_FRAME_SIZE,
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_USO,
} from '../../devices/virtio/net/constants.ts';
import { EAGAIN, EBADFD, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, SYS_readv, SYS_writev } from '../ffi/constants.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { EventLoop, Poller, Watch } from '../loop/event-loop.ts';
import { FrameVectors } from './frame-vectors.ts';
import { TapDevice, type TapOptions } from './tap-device.ts';
import { TUN_F_CSUM, TUN_F_TSO_ECN, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6 } from './tun-layout.ts';

/** Frames that one foreign call moves: a quarter of what the queues hold, so that the guest makes new ones meanwhile. */
const BATCH = 64;
/** Pieces of a frame: what the device gives at most, header and overflow. */
const PIECES = 1002;

const FEATURES = [
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_ECN,
] as const;
const UDP_FEATURES = [VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_HOST_USO] as const;

function featureSet(bits: readonly number[]): bigint {
  return bits.reduce((set, bit) => set | feature(bit), 0n);
}

/** A tap: frames go between the guest's memory and the kernel without being copied, many with one foreign call. */
export class TapBackend implements NetBackend, Poller {
  listener: NetListener | undefined;
  readonly features: bigint;
  readonly batch = BATCH;
  readonly transmitHeaders: DataView;
  readonly receiveHeaders: DataView;
  readonly receivedLengths = new Int32Array(BATCH);
  readonly overflow: Uint8Array;
  linkUp = true;
  readable = false;
  transmitFailures = 0;
  readonly #device: TapDevice;
  readonly #loop: EventLoop;
  readonly #watch: Watch;
  readonly #outHeaders = new NativeBuffer(BATCH * HEADER_SIZE);
  readonly #inHeaders = new NativeBuffer(BATCH * HEADER_SIZE);
  readonly #overflow = new NativeBuffer(BATCH * MAX_FRAME_SIZE);
  /** By frame: what the last system call for it returned. */
  readonly #resultsMemory = new NativeBuffer(4 * BATCH);
  readonly #results = new Int32Array(this.#resultsMemory.buffer, this.#resultsMemory.base, BATCH);
  readonly #out: FrameVectors;
  readonly #in: FrameVectors;

  /**
   * @param guest host address of `GuestMemory.buffer`'s first byte
   * @throws ConfigError, HostError as `TapDevice`
   */
  constructor(loop: EventLoop, guest: number, options: Omit<TapOptions, 'headerSize'>) {
    this.#loop = loop;
    this.#device = new TapDevice({ ...options, headerSize: HEADER_SIZE });
    this.features = featureSet(this.#device.segmentsUdp ? [...FEATURES, ...UDP_FEATURES] : FEATURES);
    this.transmitHeaders = this.#outHeaders.view;
    this.receiveHeaders = this.#inHeaders.view;
    this.overflow = this.#overflow.bytes;
    this.#out = new FrameVectors(guest, BATCH, PIECES);
    this.#in = new FrameVectors(guest, BATCH, PIECES);
    // Edge-triggered: told once of frames, until a read finds none.
    this.#watch = loop.watch(this.#device.fd, EPOLLIN | EPOLLET, (events) => this.#ready(events));
    loop.addPoller(this);
  }

  configure(features: bigint): void {
    const has = (bit: number): boolean => (features & feature(bit)) !== 0n;
    let flags = 0;
    if (has(VIRTIO_NET_F_GUEST_CSUM)) {
      flags |= TUN_F_CSUM;
      if (has(VIRTIO_NET_F_GUEST_TSO4)) flags |= TUN_F_TSO4;
      if (has(VIRTIO_NET_F_GUEST_TSO6)) flags |= TUN_F_TSO6;
      if (has(VIRTIO_NET_F_GUEST_ECN) && flags !== TUN_F_CSUM) flags |= TUN_F_TSO_ECN;
      if (has(VIRTIO_NET_F_GUEST_USO4) && has(VIRTIO_NET_F_GUEST_USO6)) flags |= TUN_F_USO4 | TUN_F_USO6;
    }
    if (this.linkUp) this.#device.setOffload(flags);
  }

  beginTransmit(): void {
    const index = this.#out.frames;
    this.#out.begin();
    this.#out.addHost(this.#outHeaders.address + index * HEADER_SIZE, HEADER_SIZE);
  }

  addTransmit(offset: number, length: number): void {
    this.#out.addGuest(offset, length);
  }

  /** A tap takes all at once; what the kernel refuses is lost, as on a wire. */
  transmit(): number {
    const count = this.#out.frames;
    this.#run(SYS_writev, this.#out, false);
    let failures = 0;
    let gone = false;
    for (let i = 0; i < count; i++) {
      const result = this.#results[i]!;
      if (result >= 0) continue;
      failures++;
      if (result === -EBADFD) gone = true;
    }
    this.transmitFailures = failures;
    this.#out.clear();
    if (gone) this.#lose();
    return count;
  }

  beginReceive(): void {
    const index = this.#in.frames;
    if (index > 0) this.#endReceive(index - 1);
    this.#in.begin();
    this.#in.addHost(this.#inHeaders.address + index * HEADER_SIZE, HEADER_SIZE);
  }

  addReceive(offset: number, length: number): void {
    this.#in.addGuest(offset, length);
  }

  receive(): void {
    const count = this.#in.frames;
    if (count === 0) return;
    this.#endReceive(count - 1);
    const made = this.#run(SYS_readv, this.#in, true);
    const lengths = this.receivedLengths;
    for (let i = 0; i < made; i++) lengths[i] = Math.max(0, this.#results[i]! - HEADER_SIZE);
    for (let i = made; i < count; i++) lengths[i] = 0;
    this.#in.clear();
    const last = this.#results[made - 1]!;
    if (last >= 0) return;
    if (last === -EAGAIN) this.readable = false;
    else lengths[made - 1] = last;
    if (last === -EBADFD) this.#lose();
  }

  poll(): boolean {
    return this.readable && (this.listener?.receive() ?? false);
  }

  /** Stops looking after the tap, and closes it. */
  close(): void {
    this.#loop.removePoller(this);
    this.readable = false;
    this.#watch.close();
    this.#device.close();
    this.#out.release();
    this.#in.release();
    this.#outHeaders.release();
    this.#inHeaders.release();
    this.#overflow.release();
    this.#resultsMemory.release();
  }

  /** What does not fit into a frame's room goes to its overflow. */
  #endReceive(index: number): void {
    this.#in.addHost(this.#overflow.address + index * MAX_FRAME_SIZE, MAX_FRAME_SIZE);
  }

  /** Makes one system call a frame, all with one foreign call. @param stop at the first that fails @returns how many were made */
  #run(number: number, vectors: FrameVectors, stop: boolean): number {
    const { arena } = this.#loop;
    const { fd } = this.#device;
    if (arena.room === 0) arena.submit();
    const results = this.#resultsMemory.address;
    const place = arena.queueSeries(number, fd, vectors.base, vectors.starts(), vectors.frames, results, stop);
    arena.submit();
    return arena.result(place);
  }

  #ready(events: number): void {
    if ((events & EPOLLIN) !== 0) this.readable = true;
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0) this.#lose();
  }

  /** The network device was deleted: the guest sees its link go down, and lives on. */
  #lose(): void {
    this.readable = false;
    if (!this.linkUp) return;
    this.linkUp = false;
    this.#watch.close();
    this.listener?.linkChanged();
  }
}
