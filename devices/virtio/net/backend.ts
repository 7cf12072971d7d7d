/** Told what happens at the host's end. */
export interface NetListener {
  /** Frames may be there: takes some of them. @returns whether it took any */
  receive(): boolean;
  /** Frames that `transmit` left may be tried again. */
  writable(): void;
  /** `linkUp` has changed. */
  linkChanged(): void;
}

/**
 * The host's end of a network device: a tap, a socket, or a test.
 *
 * Frames go in batches. Buffers are given as offsets in guest memory's `buffer`, in bytes, and are used within `transmit` and `receive`, never
 * after. Headers (`struct virtio_net_hdr_v1`, `HEADER_SIZE` bytes each, one after the other by frame of the batch) and frames are kept apart: the
 * guest's header was read once and checked, and what the host says in one is not yet in guest memory.
 */
export interface NetBackend {
  listener: NetListener | undefined;
  /** The offloads that it can do, as `VIRTIO_NET_F_*` of both directions. */
  readonly features: bigint;
  /** Whether frames get anywhere. */
  readonly linkUp: boolean;
  /** Frames of a batch. */
  readonly batch: number;
  /** The driver is ready, and accepts these features. */
  configure(features: bigint): void;

  /** Headers of frames to send. The device fills that of a frame after `beginTransmit`. */
  readonly transmitHeaders: DataView;
  /** Begins a frame of so many bytes. Only where the batch is not full. */
  beginTransmit(length: number): void;
  /** Adds bytes to the frame. */
  addTransmit(offset: number, length: number): void;
  /** Sends the batch. @returns how many frames, from the first on, it has taken; where fewer than given, `listener.writable` follows */
  transmit(): number;
  /** How many of the frames that the last `transmit` took are lost. */
  readonly transmitFailures: number;

  /** Whether frames may be there. */
  readonly readable: boolean;
  /** Headers of the frames that were received. A backend without offloads leaves them 0. */
  readonly receiveHeaders: DataView;
  /** By frame of the batch: its bytes; 0 where there was none; -errno where it could not be read. */
  readonly receivedLengths: Int32Array;
  /** What did not fit in the room given: that of frame n from `n * MAX_FRAME_SIZE` on. */
  readonly overflow: Uint8Array;
  /** Begins room for one more frame. Only where the batch is not full. */
  beginReceive(): void;
  /** Adds room to it: at most 1000 pieces, and `MAX_FRAME_SIZE` bytes in all. */
  addReceive(offset: number, length: number): void;
  /** Fills the batch. */
  receive(): void;
}
