import {
  CONNECTION_BUFFER_SIZE,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VIRTIO_VSOCK_SHUTDOWN_RCV,
  VIRTIO_VSOCK_SHUTDOWN_SEND,
} from './constants.ts';
import type { PacketHeader } from './packet-header.ts';

export const ConnectionState = {
  /** The guest has asked for it, and the host has not accepted it yet. */
  Connecting: 0,
  /** The host has asked for it, and the guest has not answered yet. */
  Requested: 1,
  Established: 2,
  /** It is over; the guest is still to be told so. */
  Closing: 3,
  /** No connection any more. */
  Gone: 4,
} as const;
export type ConnectionState = (typeof ConnectionState)[keyof typeof ConnectionState];

export const SHUTDOWN_BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;

/** What is to be said to the guest besides data, bits of `Connection.say`: each is bit number `VIRTIO_VSOCK_OP_*`. */
export const Say = {
  Request: 1 << VIRTIO_VSOCK_OP_REQUEST,
  Response: 1 << VIRTIO_VSOCK_OP_RESPONSE,
  Reset: 1 << VIRTIO_VSOCK_OP_RST,
  Shutdown: 1 << VIRTIO_VSOCK_OP_SHUTDOWN,
  CreditUpdate: 1 << VIRTIO_VSOCK_OP_CREDIT_UPDATE,
} as const;

/** Reads that a connection begins at once: few for the first answer of a quiet one, more while they come back full. */
const MIN_READS = 2;
const MAX_READS = 32;

/** The guest learns that we have forwarded data when it thinks that less room than this is left. */
const CREDIT_UPDATE_BELOW = CONNECTION_BUFFER_SIZE / 2;

/**
 * One connection between guest and host: what is said on it, and how much may be sent each way (virtio 1.2 section 5.10.6.3).
 *
 * Counters are u32s that wrap, kept as int32s and only compared by their differences.
 */
export class Connection {
  readonly hostPort: number;
  readonly guestPort: number;
  stream: number;
  state: ConnectionState;
  /** Bits of `Say`. */
  say = 0;
  /** Milliseconds of the device's clock at which it is over; 0: there is no hurry. */
  deadline = 0;
  /** What the guest has said that it will not do any more, and what we have told it of the host: VIRTIO_VSOCK_SHUTDOWN_*. */
  guestShutdown = 0;
  hostShutdown = 0;
  /** The host has been told that the guest sends no more. */
  sendingEnded = false;
  /** The stream may have something to read. */
  readable = false;
  /** The stream has been read to its end. */
  readToEnd = false;
  /** The host neither sends nor receives any more. */
  hungUp = false;
  /** How many reads are begun at once. */
  reads = MIN_READS;
  /** The guest has been asked for room, and has not given any yet. */
  creditAsked = false;
  /** From the guest: bytes that came, that went on, and that we have told it of. */
  #received = 0;
  #forwarded = 0;
  #told = 0;
  /** To the guest: bytes that were sent, that it has said it took, and how many it can hold. */
  #sent = 0;
  #guestForwarded = 0;
  #guestBuffer = 0;
  /** Links of the table and of the list of those that have something to say. */
  nextInBucket: Connection | undefined;
  listed = false;
  nextListed: Connection | undefined;
  previousListed: Connection | undefined;

  constructor(hostPort: number, guestPort: number, stream: number, state: ConnectionState) {
    this.hostPort = hostPort;
    this.guestPort = guestPort;
    this.stream = stream;
    this.state = state;
  }

  /** Bytes that the guest has room for. */
  get credit(): number {
    const inFlight = (this.#sent - this.#guestForwarded) >>> 0;
    return Math.max(0, this.#guestBuffer - inFlight);
  }

  /** Notes what any packet of the guest says of its buffer. @returns whether there is room where there was none */
  noteCredit({ bufferSize, forwarded }: PacketHeader): boolean {
    const before = this.credit;
    // No more is ever in flight; and so it is a small integer.
    this.#guestBuffer = Math.min(bufferSize, 0x3fff_ffff);
    this.#guestForwarded = forwarded | 0;
    if (this.credit === 0) return false;
    this.creditAsked = false;
    return before === 0;
  }

  /** `fwd_cnt`, as told with each packet. */
  get forwarded(): number {
    return this.#forwarded >>> 0;
  }

  /** Whether everything from the guest has gone on to the host. */
  get drained(): boolean {
    return this.#received === this.#forwarded;
  }

  /** Takes data from the guest. @returns whether it kept to the room that it has */
  receive(length: number): boolean {
    const kept = (this.#received - this.#forwarded) >>> 0;
    if (kept + length > CONNECTION_BUFFER_SIZE) return false;
    this.#received = (this.#received + length) | 0;
    return true;
  }

  /** The host has taken so many bytes. */
  forward(bytes: number): void {
    const kept = (this.#received - this.#forwarded) >>> 0;
    this.#forwarded = (this.#forwarded + Math.min(bytes, kept)) | 0;
    const seen = CONNECTION_BUFFER_SIZE - ((this.#received - this.#told) >>> 0);
    if (this.#forwarded !== this.#told && seen < CREDIT_UPDATE_BELOW) this.say |= Say.CreditUpdate;
  }

  /** Nobody takes what the guest has sent: it need not be kept. */
  discard(): void {
    this.forward((this.#received - this.#forwarded) >>> 0);
  }

  /** A packet with `fwd_cnt` in it is on its way to the guest. */
  told(): void {
    this.#told = this.#forwarded;
    this.say &= ~Say.CreditUpdate;
  }

  /** Data is on its way to the guest. */
  sent(bytes: number): void {
    this.#sent = (this.#sent + bytes) | 0;
  }

  /** Whether the stream should be read. */
  get wantsRead(): boolean {
    return (
      this.readable &&
      !this.readToEnd &&
      this.state === ConnectionState.Established &&
      (this.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) === 0
    );
  }

  /** Whether a buffer of the guest would be of use now. */
  get hasToSay(): boolean {
    return this.say !== 0 || (this.wantsRead && (this.credit > 0 || !this.creditAsked));
  }

  /** How the last reads went: all full, so that more at once are worth it, or not. */
  learn(full: boolean): void {
    this.reads = full ? Math.min(2 * this.reads, MAX_READS) : MIN_READS;
  }
}
