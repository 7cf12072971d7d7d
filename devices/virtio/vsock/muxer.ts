import type { DescriptorChain } from '../chain.ts';
import { NO_STREAM, type VsockBackend, type VsockListener } from './backend.ts';
import { Connection, ConnectionState, Say, SHUTDOWN_BOTH } from './connection.ts';
import { ConnectionTable } from './connection-table.ts';
import {
  CONNECTION_TIMEOUT_MS,
  MAX_CONNECTIONS,
  VIRTIO_VSOCK_OP_CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VIRTIO_VSOCK_SHUTDOWN_RCV,
  VIRTIO_VSOCK_SHUTDOWN_SEND,
  VIRTIO_VSOCK_TYPE_STREAM,
  VMADDR_CID_HOST,
} from './constants.ts';
import type { VsockMetrics } from './metrics.ts';
import type { PacketHeader } from './packet-header.ts';
import { ReadyList } from './ready-list.ts';
import { ResetQueue } from './reset-queue.ts';

/**
 * Connects the guest's ports with the host's streams: what packets of the guest and events of the host do to connections, and which of
 * these have something to say to the guest.
 *
 * Rules are Linux's and Firecracker's where the specification has none: packets for other context ids are dropped, what belongs to no
 * connection is answered by a reset (but a reset never is), and what makes no sense in a connection's state is ignored.
 */
export class Muxer implements VsockListener {
  readonly table = new ConnectionTable();
  readonly ready = new ReadyList();
  /** Resets that belong to no connection. While it is full, no packets may come. */
  readonly resets = new ResetQueue();
  readonly #guestCid: number;
  readonly #backend: VsockBackend;
  readonly #metrics: VsockMetrics;
  readonly #now: () => number;
  readonly #pump: () => void;
  #timerSet = false;

  /**
   * @param now milliseconds of a clock that never goes back
   * @param pump brings what is to be said to the guest, as far as it has room
   */
  constructor(guestCid: number, backend: VsockBackend, metrics: VsockMetrics, now: () => number, pump: () => void) {
    this.#guestCid = guestCid;
    this.#backend = backend;
    this.#metrics = metrics;
    this.#now = now;
    this.#pump = pump;
  }

  /** Whether the guest's buffers would be of use. */
  get hasToSay(): boolean {
    return this.ready.first !== undefined || !this.resets.empty;
  }

  /** A packet from the guest. Its data is what is left to read in `chain`. Only while `resets` is not full. */
  packet(header: PacketHeader, chain: DescriptorChain): void {
    if (header.destinationCid !== VMADDR_CID_HOST || header.sourceCid !== this.#guestCid) return;
    const { operation } = header;
    const connection = this.table.find(header.destinationPort, header.sourcePort);
    if (connection === undefined) {
      if (operation === VIRTIO_VSOCK_OP_REQUEST && header.type === VIRTIO_VSOCK_TYPE_STREAM) this.#accept(header);
      else if (operation !== VIRTIO_VSOCK_OP_RST) this.resets.add(header.destinationPort, header.sourcePort);
      return;
    }
    if (operation === VIRTIO_VSOCK_OP_RST) {
      this.remove(connection);
      return;
    }
    if (header.type !== VIRTIO_VSOCK_TYPE_STREAM) {
      this.kill(connection);
      return;
    }
    connection.noteCredit(header);
    switch (operation) {
      case VIRTIO_VSOCK_OP_RW:
        this.#receive(connection, header.length, chain);
        break;
      case VIRTIO_VSOCK_OP_RESPONSE:
        this.#establish(connection);
        break;
      case VIRTIO_VSOCK_OP_SHUTDOWN:
        this.#shutDown(connection, header.flags & SHUTDOWN_BOTH);
        break;
      case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        if (connection.state === ConnectionState.Established) connection.say |= Say.CreditUpdate;
        break;
    }
    this.#list(connection);
  }

  requested(stream: number, port: number): void {
    if (this.table.size >= MAX_CONNECTIONS) {
      this.#backend.close(stream);
      return;
    }
    const hostPort = this.table.allocateHostPort(port);
    const connection = new Connection(hostPort, port, stream, ConnectionState.Requested);
    connection.say = Say.Request;
    this.#add(connection);
  }

  opened(stream: number): void {
    const connection = this.table.ofStream(stream);
    if (connection === undefined || connection.state !== ConnectionState.Connecting) return;
    this.#open(connection);
    this.#list(connection);
  }

  refused(stream: number): void {
    const connection = this.table.ofStream(stream);
    if (connection === undefined) return;
    this.table.forgetStream(stream);
    connection.stream = NO_STREAM;
    this.#close(connection);
  }

  readable(stream: number): void {
    const connection = this.table.ofStream(stream);
    if (connection === undefined) return;
    connection.readable = true;
    this.#list(connection);
  }

  hungUp(stream: number): void {
    const connection = this.table.ofStream(stream);
    if (connection === undefined) return;
    connection.hungUp = true;
    connection.readable = true;
    // Until it has been read to its end, there may be data; the end then tells the rest.
    if (connection.readToEnd) this.#tellShutdown(connection, SHUTDOWN_BOTH);
    this.#list(connection);
  }

  forwarded(stream: number, bytes: number): void {
    this.#metrics.tx_bytes_count += bytes;
    const connection = this.table.ofStream(stream);
    if (connection === undefined) return;
    connection.forward(bytes);
    this.#finish(connection);
    this.#list(connection);
  }

  broken(stream: number): void {
    this.#metrics.tx_write_fails++;
    const connection = this.table.ofStream(stream);
    if (connection === undefined) return;
    connection.discard();
    connection.readable = true;
    this.#tellShutdown(connection, VIRTIO_VSOCK_SHUTDOWN_RCV);
    this.#finish(connection);
    this.#list(connection);
  }

  failed(stream: number): void {
    this.#metrics.tx_write_fails++;
    const connection = this.table.ofStream(stream);
    if (connection !== undefined) this.kill(connection);
  }

  timeout(): void {
    this.#timerSet = false;
    const now = this.#now();
    let next = Number.POSITIVE_INFINITY;
    this.table.forEach((connection) => {
      const { deadline } = connection;
      if (deadline === 0) return;
      if (deadline <= now) this.kill(connection);
      else next = Math.min(next, deadline);
    });
    if (next !== Number.POSITIVE_INFINITY) this.#setTimer(next - now);
  }

  settle(): void {
    this.#pump();
  }

  /** A stream has been read to its end: the host sends no more. */
  ended(connection: Connection): void {
    connection.readToEnd = true;
    this.#tellShutdown(connection, connection.hungUp ? SHUTDOWN_BOTH : VIRTIO_VSOCK_SHUTDOWN_SEND);
  }

  /** A request or a full shutdown is on its way to the guest, which now has to answer. */
  expectAnswer(connection: Connection): void {
    connection.deadline = this.#now() + CONNECTION_TIMEOUT_MS;
    this.#setTimer(CONNECTION_TIMEOUT_MS);
  }

  /** Ends a connection because something is wrong with it. */
  kill(connection: Connection): void {
    if (connection.state === ConnectionState.Closing) return;
    this.#metrics.conns_killed++;
    this.#close(connection);
  }

  /** Forgets a connection: the guest knows that it is over. */
  remove(connection: Connection): void {
    if (connection.stream !== NO_STREAM) this.#backend.close(connection.stream);
    this.ready.remove(connection);
    this.table.remove(connection);
    this.#metrics.conns_removed++;
  }

  /** Forgets all connections, whose streams are closed already. */
  clear(): void {
    this.#metrics.conns_removed += this.table.size;
    this.ready.clear();
    this.table.clear();
    this.resets.clear();
  }

  /** Puts a connection where `pump` finds it, if it has something to say. */
  relist(connection: Connection): void {
    if (connection.state !== ConnectionState.Gone) this.#list(connection);
  }

  /** The guest asks for a connection. */
  #accept(header: PacketHeader): void {
    const { destinationPort, sourcePort } = header;
    const stream = this.table.size < MAX_CONNECTIONS ? this.#backend.connect(destinationPort) : NO_STREAM;
    if (stream === NO_STREAM) {
      this.resets.add(destinationPort, sourcePort);
      return;
    }
    const connection = new Connection(destinationPort, sourcePort, stream, ConnectionState.Connecting);
    connection.noteCredit(header);
    if (this.#backend.isOpen(stream)) this.#open(connection);
    this.#add(connection);
  }

  #add(connection: Connection): void {
    this.table.add(connection);
    this.#metrics.conns_added++;
    this.#list(connection);
  }

  #open(connection: Connection): void {
    connection.state = ConnectionState.Established;
    connection.say |= Say.Response;
    connection.readable = true;
  }

  /** The guest has accepted a connection of the host. */
  #establish(connection: Connection): void {
    if (connection.state !== ConnectionState.Requested || (connection.say & Say.Request) !== 0) return;
    connection.state = ConnectionState.Established;
    connection.deadline = 0;
    connection.readable = true;
    this.#backend.acknowledge(connection.stream, connection.hostPort);
  }

  #receive(connection: Connection, length: number, chain: DescriptorChain): void {
    const mayCome =
      connection.state === ConnectionState.Established && (connection.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) === 0;
    if (!mayCome || length === 0) return;
    if (!connection.receive(length)) {
      this.kill(connection);
      return;
    }
    // What was on its way when we said that the host receives no more.
    if ((connection.hostShutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) !== 0) connection.discard();
    else this.#backend.send(connection.stream, chain, chain.readFrom, chain.readTo);
  }

  /** The guest receives or sends no more; neither can be taken back. */
  #shutDown(connection: Connection, flags: number): void {
    if (connection.state === ConnectionState.Closing) return;
    connection.guestShutdown |= flags;
    if (connection.state !== ConnectionState.Established) {
      if (connection.guestShutdown === SHUTDOWN_BOTH) this.#close(connection);
      return;
    }
    if ((flags & VIRTIO_VSOCK_SHUTDOWN_RCV) !== 0) this.#backend.endReceiving(connection.stream);
    this.#finish(connection);
  }

  /** Does what waits for the guest's data to be forwarded. */
  #finish(connection: Connection): void {
    const { guestShutdown } = connection;
    if (connection.state !== ConnectionState.Established || (guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) === 0) return;
    if (!connection.drained) {
      if (guestShutdown === SHUTDOWN_BOTH && connection.deadline === 0) this.expectAnswer(connection);
    } else if (guestShutdown === SHUTDOWN_BOTH) this.#close(connection);
    else if (!connection.sendingEnded) {
      connection.sendingEnded = true;
      this.#backend.endSending(connection.stream);
    }
  }

  #tellShutdown(connection: Connection, flags: number): void {
    if ((flags & ~connection.hostShutdown) === 0) return;
    connection.hostShutdown |= flags;
    connection.say |= Say.Shutdown;
  }

  /** Ends the stream, and the connection as soon as the guest has been told. */
  #close(connection: Connection): void {
    const { stream } = connection;
    if (stream !== NO_STREAM) {
      this.table.forgetStream(stream);
      connection.stream = NO_STREAM;
      this.#backend.close(stream);
    }
    connection.state = ConnectionState.Closing;
    connection.deadline = 0;
    connection.say = Say.Reset;
    this.#list(connection);
  }

  #list(connection: Connection): void {
    if (connection.hasToSay) this.ready.add(connection);
  }

  #setTimer(milliseconds: number): void {
    if (this.#timerSet) return;
    this.#timerSet = true;
    this.#backend.setTimer(milliseconds);
  }
}
