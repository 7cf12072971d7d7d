import type { NetBackend, NetListener } from '../../../devices/virtio/net/backend.ts';
import {
  ETH_HLEN,
  HEADER_SIZE,
  MAX_FRAME_SIZE,
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../../../devices/virtio/net/constants.ts';
import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';

/** A frame with its header, as the host's end has it. */
export interface WireFrame {
  readonly header: Uint8Array;
  readonly bytes: Uint8Array;
}

/** The feature of each `gso_type`. */
const SEGMENTATION = new Map<number, number>([
  [VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4],
  [VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6],
  [VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_F_HOST_USO],
]);

interface Piece {
  readonly offset: number;
  readonly length: number;
}

/** The host's end of a network device, in memory: a list of frames in each direction. */
export class Wire implements NetBackend {
  listener: NetListener | undefined;
  readonly features: bigint;
  readonly batch: number;
  linkUp = true;
  configured = 0n;
  readonly transmitHeaders: DataView;
  transmitFailures = 0;
  readonly receiveHeaders: DataView;
  readonly receivedLengths: Int32Array;
  readonly overflow: Uint8Array;
  /** Frames that came from the guest. */
  readonly sent: WireFrame[] = [];
  /** Frames for the guest; a number is an errno that reading gives. */
  readonly waiting: (WireFrame | number)[] = [];
  /** How many more frames it takes from the guest before it is congested. */
  credit = Number.POSITIVE_INFINITY;
  /** So many frames of each batch get lost. */
  failures = 0;
  readonly #memory: GuestMemory;
  #frames: { length: number; pieces: Piece[] }[] = [];
  #slots: Piece[][] = [];

  constructor(memory: GuestMemory, options: { features?: bigint; batch?: number } = {}) {
    this.#memory = memory;
    this.features = options.features ?? 0n;
    this.batch = options.batch ?? 8;
    this.transmitHeaders = new DataView(new ArrayBuffer(this.batch * HEADER_SIZE));
    this.receiveHeaders = new DataView(new ArrayBuffer(this.batch * HEADER_SIZE));
    this.receivedLengths = new Int32Array(this.batch);
    this.overflow = new Uint8Array(this.batch * MAX_FRAME_SIZE);
  }

  /** Frames arrive from outside. */
  arrive(...frames: (WireFrame | Uint8Array | number)[]): void {
    for (const frame of frames) {
      this.waiting.push(frame instanceof Uint8Array ? { header: new Uint8Array(HEADER_SIZE), bytes: frame } : frame);
    }
    this.listener?.receive();
  }

  configure(features: bigint): void {
    this.configured = features;
  }

  beginTransmit(length: number): void {
    if (this.#frames.length === this.batch) throw new Error('more frames than a batch has');
    this.#frames.push({ length, pieces: [] });
  }

  addTransmit(offset: number, length: number): void {
    this.#check(offset, length);
    this.#frames.at(-1)!.pieces.push({ offset, length });
  }

  transmit(): number {
    const frames = this.#frames;
    this.#frames = [];
    const taken = Math.min(frames.length, this.credit);
    this.credit -= taken;
    this.transmitFailures = Math.min(this.failures, taken);
    for (const [i, { length, pieces }] of frames.slice(0, taken).entries()) {
      const bytes = Buffer.concat(pieces.map((piece) => this.#bytes(piece)));
      if (bytes.length !== length) throw new Error('a frame is not as long as was said');
      this.#checkHeader(i * HEADER_SIZE, length);
      const header = new Uint8Array(this.transmitHeaders.buffer, i * HEADER_SIZE, HEADER_SIZE).slice();
      if (i >= this.transmitFailures) this.sent.push({ header, bytes: Uint8Array.from(bytes) });
    }
    return taken;
  }

  get readable(): boolean {
    return this.waiting.length > 0;
  }

  beginReceive(): void {
    if (this.#slots.length === this.batch) throw new Error('more frames than a batch has');
    this.#slots.push([]);
  }

  addReceive(offset: number, length: number): void {
    this.#check(offset, length);
    const slot = this.#slots.at(-1)!;
    slot.push({ offset, length });
    if (slot.length > 1000) throw new Error('a frame in more than 1000 pieces');
    if (slot.reduce((sum, piece) => sum + piece.length, 0) > MAX_FRAME_SIZE) throw new Error('more room than a frame');
  }

  receive(): void {
    const slots = this.#slots;
    this.#slots = [];
    for (const [i, pieces] of slots.entries()) {
      const frame = this.waiting.shift();
      if (frame === undefined) this.receivedLengths[i] = 0;
      else if (typeof frame === 'number') this.receivedLengths[i] = -frame;
      else this.#fill(i, pieces, frame);
    }
  }

  #fill(index: number, pieces: readonly Piece[], { header, bytes }: WireFrame): void {
    for (let i = 0; i < HEADER_SIZE; i++) this.receiveHeaders.setUint8(index * HEADER_SIZE + i, header[i] as number);
    let done = 0;
    for (const { offset, length } of pieces) {
      const part = bytes.subarray(done, done + length);
      this.#memory.bytes.set(part, offset);
      done += part.length;
    }
    this.overflow.set(bytes.subarray(done), index * MAX_FRAME_SIZE);
    this.receivedLengths[index] = bytes.length;
  }

  /** What no tap would take, or what nobody agreed on, is not to come so far. */
  #checkHeader(at: number, length: number): void {
    if (length < ETH_HLEN || length > MAX_FRAME_SIZE) throw new Error(`a frame of ${length} bytes`);
    const header = this.transmitHeaders;
    const [flags, type] = [header.getUint8(at), header.getUint8(at + 1)];
    const [headerLength, segmentSize] = [header.getUint16(at + 2, true), header.getUint16(at + 4, true)];
    const isAgreed = (bit: number) => (this.configured & (1n << BigInt(bit))) !== 0n;
    if ((flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) throw new Error(`flags ${flags}`);
    if (flags !== 0) {
      const end = header.getUint16(at + 6, true) + header.getUint16(at + 8, true) + 2;
      if (!isAgreed(VIRTIO_NET_F_CSUM) || end > length) throw new Error('a checksum behind the frame');
    }
    const bit = SEGMENTATION.get(type & ~VIRTIO_NET_HDR_GSO_ECN);
    const isWhole = type === VIRTIO_NET_HDR_GSO_NONE;
    if (!isWhole && (bit === undefined || !isAgreed(bit))) throw new Error(`segmentation of type ${type}`);
    if (!isWhole && (flags === 0 || segmentSize === 0)) throw new Error('segments without checksums or size');
    if (headerLength > length) throw new Error('headers longer than the frame');
  }

  #bytes({ offset, length }: Piece): Uint8Array {
    return this.#memory.bytes.subarray(offset, offset + length);
  }

  #check(offset: number, length: number): void {
    const start = offset - this.#memory.regions[0]!.offset;
    if (length <= 0 || start < 0 || start + length > this.#memory.size) {
      throw new Error(`a buffer outside memory: ${length} bytes at ${offset}`);
    }
  }
}
