import { Op, type Packet, type VsockDriver } from './vsock-driver.ts';

const RCV = 1;
const SEND = 2;
const BOTH = 3;

/** A stream socket of a well-behaved guest. */
export class GuestSocket {
  readonly guestPort: number;
  readonly hostPort: number;
  /** Bytes that it can hold. */
  readonly bufferSize: number;
  state: 'connecting' | 'connected' | 'refused' | 'closed' = 'connecting';
  /** What is still to be sent, and what has been received. */
  outgoing = Buffer.alloc(0);
  incoming = Buffer.alloc(0);
  /** The host sends, or receives, no more. */
  endOfInput = false;
  hostDeaf = false;
  /** It was ended by the host without an orderly end. */
  aborted = false;
  /** Close once everything is sent: VIRTIO_VSOCK_SHUTDOWN_* to say then. */
  farewell = 0;
  said = 0;
  #sent = 0;
  #hostBuffer = 0;
  #hostForwarded = 0;
  #received = 0;
  #taken = 0;
  #told = 0;

  constructor(guestPort: number, hostPort: number, bufferSize: number) {
    this.guestPort = guestPort;
    this.hostPort = hostPort;
    this.bufferSize = bufferSize;
  }

  get credit(): number {
    return this.#hostBuffer - ((this.#sent - this.#hostForwarded) >>> 0);
  }

  /** Members of every packet that it sends. */
  get header(): Partial<Packet> {
    this.#told = this.#taken;
    return {
      sourcePort: this.guestPort,
      destinationPort: this.hostPort,
      bufferSize: this.bufferSize,
      forwarded: this.#taken >>> 0,
    };
  }

  /** Notes data for the application, which takes it at once or later. @throws Error where there was no room for it */
  receive(packet: Packet, take: boolean): void {
    if (this.endOfInput) throw new Error('data after its end');
    if (packet.data.length !== packet.length || packet.length === 0) throw new Error('a packet of a wrong length');
    this.#received += packet.length;
    if (this.#received - this.#taken > this.bufferSize) throw new Error('more data than there is room for');
    this.incoming = Buffer.concat([this.incoming, packet.data]);
    if (take) this.take();
  }

  /** The application takes what has arrived. @returns whether the host should be told */
  take(): boolean {
    this.#taken = this.#received;
    return this.#taken - this.#told >= this.bufferSize / 2;
  }

  noteCredit({ bufferSize, forwarded }: Packet): void {
    this.#hostBuffer = bufferSize;
    this.#hostForwarded = forwarded;
    if ((this.#sent - forwarded) >>> 0 > bufferSize) throw new Error('more was forwarded than was sent');
  }

  /** Cuts off what can be sent now, up to so many bytes. */
  cut(length: number): Buffer {
    const data = this.outgoing.subarray(0, Math.min(length, this.credit));
    this.outgoing = this.outgoing.subarray(data.length);
    this.#sent = (this.#sent + data.length) >>> 0;
    return data;
  }
}

/** The sockets of a well-behaved guest: its side of credit, half-close and close. */
export class GuestSockets {
  readonly driver: VsockDriver;
  readonly all: GuestSocket[] = [];
  /** Whether the application accepts connections to a port. */
  accepts: (port: number) => boolean = () => true;
  bufferSize = 0x1_0000;
  /** Whether applications take what arrives at once. */
  greedy = true;
  packetSize = 0x1_0000;
  /** Packets that wait for room in the queue. */
  readonly #waiting: Partial<Packet>[] = [];

  constructor(driver: VsockDriver) {
    this.driver = driver;
  }

  connect(hostPort: number): GuestSocket {
    const socket = new GuestSocket(40_000 + this.all.length, hostPort, this.bufferSize);
    this.all.push(socket);
    this.#tell(socket, Op.Request);
    return socket;
  }

  write(socket: GuestSocket, data: Uint8Array): void {
    socket.outgoing = Buffer.concat([socket.outgoing, data]);
  }

  /** Says so when everything is sent: `SEND` or all. */
  shutDown(socket: GuestSocket, flags: number): void {
    socket.farewell |= flags;
  }

  /** Does what can be done now. @returns whether that was anything */
  run(): boolean {
    let busy = this.driver.core.poll();
    for (const packet of this.driver.takePackets()) {
      busy = true;
      this.#handle(packet);
    }
    while (this.#waiting.length > 0 && this.#hasRoom) {
      this.driver.send(this.#waiting.shift()!);
      busy = true;
    }
    for (const socket of this.all) {
      if (socket.state !== 'connected') continue;
      while (this.#send(socket)) busy = true;
    }
    return this.driver.core.poll() || busy;
  }

  /** Applications take what has arrived. */
  takeAll(): void {
    for (const socket of this.all) {
      if (socket.take() && socket.state === 'connected') this.#tell(socket, Op.CreditUpdate);
    }
  }

  #send(socket: GuestSocket): boolean {
    if (this.#waiting.length > 0 || !this.#hasRoom) return false;
    if (socket.hostDeaf) socket.outgoing = Buffer.alloc(0);
    if (socket.outgoing.length > 0) {
      if (socket.credit <= 0) return false;
      const data = socket.cut(this.packetSize);
      this.driver.send({ ...socket.header, operation: Op.Data, data });
      return true;
    }
    if ((socket.farewell & ~socket.said) === 0) return false;
    socket.said = socket.farewell;
    this.driver.send({ ...socket.header, operation: Op.Shutdown, flags: socket.said });
    return true;
  }

  #tell(socket: GuestSocket, operation: number): void {
    this.#waiting.push({ ...socket.header, operation });
  }

  get #hasRoom(): boolean {
    return this.driver.freeTxDescriptors >= 4;
  }

  #handle(packet: Packet): void {
    const socket = this.all.find(
      ({ guestPort, hostPort, state }) =>
        state !== 'closed' &&
        state !== 'refused' &&
        guestPort === packet.destinationPort &&
        hostPort === packet.sourcePort,
    );
    if (packet.operation === Op.Request) {
      if (socket !== undefined) throw new Error('a connection that is there already');
      this.#accept(packet);
      return;
    }
    // The answer to something that was sent before the host's reset came.
    if (socket === undefined && packet.operation === Op.Reset) return;
    if (socket === undefined) throw new Error(`a packet for no socket: ${JSON.stringify(packet)}`);
    if (packet.operation !== Op.Reset) socket.noteCredit(packet);
    switch (packet.operation) {
      case Op.Response:
        socket.state = 'connected';
        break;
      case Op.Reset:
        socket.aborted = socket.said !== BOTH;
        socket.state = socket.state === 'connecting' ? 'refused' : 'closed';
        break;
      case Op.Data:
        socket.receive(packet, this.greedy);
        if (this.greedy && socket.take()) this.#tell(socket, Op.CreditUpdate);
        break;
      case Op.CreditRequest:
        this.#tell(socket, Op.CreditUpdate);
        break;
      case Op.Shutdown:
        if ((packet.flags & SEND) !== 0) socket.endOfInput = true;
        if ((packet.flags & RCV) !== 0) socket.hostDeaf = true;
        if (packet.flags === BOTH) {
          this.#tell(socket, Op.Reset);
          socket.state = 'closed';
        }
        break;
      case Op.CreditUpdate:
        break;
      default:
        throw new Error(`an operation that there is not: ${packet.operation}`);
    }
  }

  #accept(packet: Packet): void {
    const socket = new GuestSocket(packet.destinationPort, packet.sourcePort, this.bufferSize);
    if (!this.accepts(packet.destinationPort)) {
      this.#tell(socket, Op.Reset);
      return;
    }
    socket.noteCredit(packet);
    socket.state = 'connected';
    this.all.push(socket);
    this.#tell(socket, Op.Response);
  }
}
