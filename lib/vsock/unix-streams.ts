import type { DescriptorChain } from '../../devices/virtio/chain.ts';
import { NO_STREAM, type VsockBackend, type VsockListener } from '../../devices/virtio/vsock/backend.ts';
import { CONNECTION_TIMEOUT_MS, MAX_CONNECTIONS } from '../../devices/virtio/vsock/constants.ts';
import { IoVectors } from '../block/io-vectors.ts';
import {
  AF_UNIX,
  EAGAIN,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  MSG_PEEK,
  SHUT_RD,
  SHUT_WR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SYS_close,
  SYS_connect,
  SYS_read,
  SYS_readv,
  SYS_recvfrom,
  SYS_shutdown,
  SYS_socket,
  SYS_write,
} from '../ffi/constants.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { CALLS_PER_BATCH } from '../loop/arena.ts';
import type { EventLoop, Poller, Watch } from '../loop/event-loop.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { commandLength, MAX_COMMAND_SIZE, parseConnect } from './command.ts';
import type { HostSocket } from './host-socket.ts';
import { SendBatch, type SendListener } from './send-batch.ts';
import { Stream, StreamState } from './stream.ts';
import { UnixAddress } from './unix-address.ts';

const READ_EVENTS = EPOLLIN | EPOLLRDHUP | EPOLLET;
/** How soon it is tried again, in milliseconds: to connect to who has not accepted yet, to accept where descriptors had run out. */
const RETRY_MS = 10;
const ACCEPT_RETRY_MS = 100;
/** Connections that are accepted before others have their turn. */
const ACCEPTS_PER_TURN = 64;

/**
 * The host's end of vsock connections, as Firecracker has it: who writes `CONNECT <port>` to the UNIX socket is connected with the guest, and
 * who waits at `<uds_path>_<port>` gets the guest's connections to the host's port.
 *
 * Data goes between sockets and guest memory without a copy, many transfers in one foreign call, except for what an application does not take
 * in time. Sockets are watched edge-triggered: a stream that is read until it is empty needs no foreign call to be watched again.
 */
export class UnixStreams implements VsockBackend, Poller, SendListener {
  listener: VsockListener | undefined;
  readonly capacity = CALLS_PER_BATCH;
  readonly #loop: EventLoop;
  readonly #socket: HostSocket;
  readonly #sends: SendBatch;
  readonly #vectors: IoVectors;
  readonly #address = new UnixAddress();
  readonly #scratch = new NativeBuffer(MAX_COMMAND_SIZE);
  readonly #streams: (Stream | undefined)[] = [];
  readonly #freeIds: number[] = [];
  #open = 0;
  /** Streams with events. */
  readonly #noted: Stream[] = [];
  /** Streams that wait to be accepted. */
  #connecting: Stream[] = [];
  /** Reads that were begun: descriptor, whether into several buffers, address, length; then their results. */
  readonly #fds = new Int32Array(CALLS_PER_BATCH);
  readonly #calls = new Int32Array(CALLS_PER_BATCH);
  readonly #addresses = new Float64Array(CALLS_PER_BATCH);
  readonly #lengths = new Float64Array(CALLS_PER_BATCH);
  readonly #results = new Float64Array(CALLS_PER_BATCH);
  #reads = 0;
  #acceptWatch: Watch | undefined;
  #acceptTimer: NodeJS.Timeout | undefined;
  #connectTimer: NodeJS.Timeout | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param socket where the host asks for connections; closed by who made it, after `stop` */
  constructor(loop: EventLoop, memory: HostMemory, socket: HostSocket) {
    this.#loop = loop;
    this.#socket = socket;
    const address = memory.addressOf(0);
    this.#vectors = new IoVectors(address);
    this.#sends = new SendBatch(loop.arena, address, Buffer.from(memory.guest.buffer), this);
  }

  start(): void {
    if (this.#acceptWatch !== undefined) return;
    this.#loop.addPoller(this);
    this.#acceptWatch = this.#loop.watch(this.#socket.fd, EPOLLIN, () => this.#acceptAll());
  }

  stop(): void {
    if (this.#acceptWatch === undefined) return;
    this.#acceptWatch.close();
    this.#acceptWatch = undefined;
    this.#loop.removePoller(this);
    clearTimeout(this.#acceptTimer);
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#timer);
    this.#connecting = [];
    for (const stream of this.#streams) if (stream !== undefined) this.close(stream.id);
  }

  connect(port: number): number {
    if (!this.#address.set(`${this.#socket.path}_${port}`)) return NO_STREAM;
    const { arena } = this.#loop;
    const fd = arena.invoke(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return NO_STREAM;
    const connected = arena.invoke(SYS_connect, fd, this.#address.address, this.#address.length);
    if (connected < 0 && connected !== -EAGAIN) {
      arena.invoke(SYS_close, fd);
      return NO_STREAM;
    }
    const stream = this.#add(fd, connected < 0 ? StreamState.Connecting : StreamState.Open);
    if (stream.state === StreamState.Open) this.#watch(stream);
    else {
      // As many as may wait do so already, and nothing tells when there is room: it is tried again.
      stream.port = port;
      stream.deadline = performance.now() + CONNECTION_TIMEOUT_MS;
      this.#connecting.push(stream);
      this.#connectTimer ??= setTimeout(() => this.#connectAgain(), RETRY_MS);
    }
    return stream.id;
  }

  isOpen(id: number): boolean {
    return this.#streams[id]?.state === StreamState.Open;
  }

  receive(id: number, chain: DescriptorChain, from: number, to: number): number {
    const place = this.#reads++;
    this.#fds[place] = this.#streams[id]!.fd;
    this.#calls[place] = this.#vectors.gather(chain, from, to) ? SYS_readv : SYS_read;
    this.#addresses[place] = this.#vectors.address;
    this.#lengths[place] = this.#vectors.length;
    return place;
  }

  send(id: number, chain: DescriptorChain, from: number, to: number): void {
    this.#sends.add(this.#streams[id]!, chain, from, to);
  }

  submit(): void {
    if (this.#reads > 0) this.#read();
    this.#sends.run();
  }

  result(place: number): number {
    return this.#results[place]!;
  }

  acknowledge(id: number, port: number): void {
    const stream = this.#streams[id]!;
    const line = `OK ${port}\n`;
    this.#scratch.bytes.set(Buffer.from(line));
    const written = this.#loop.arena.invoke(SYS_write, stream.fd, this.#scratch.address, line.length);
    // Nothing has been written to it before: whatever is wrong, nobody will read it.
    if (written !== line.length) this.broken(stream);
  }

  endReceiving(id: number): void {
    this.#loop.arena.post(SYS_shutdown, this.#streams[id]!.fd, SHUT_RD);
  }

  endSending(id: number): void {
    this.#loop.arena.post(SYS_shutdown, this.#streams[id]!.fd, SHUT_WR);
  }

  close(id: number): void {
    const stream = this.#streams[id]!;
    this.#streams[id] = undefined;
    this.#freeIds.push(id);
    this.#open--;
    stream.state = StreamState.Closed;
    stream.watch?.close();
    this.#sends.drop(stream);
    this.#loop.arena.post(SYS_close, stream.fd);
  }

  setTimer(milliseconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.listener?.timeout();
      this.listener?.settle();
    }, milliseconds);
  }

  /** Deals with what has happened to streams. */
  poll(): boolean {
    const noted = this.#noted;
    if (noted.length === 0) return false;
    for (let i = 0; i < noted.length; i++) {
      const stream = noted[i]!;
      const { events } = stream;
      stream.noted = false;
      stream.events = 0;
      if (stream.state === StreamState.Asking) this.#readCommand(stream, events);
      else if (stream.state === StreamState.Open) this.#handle(stream, events);
    }
    noted.length = 0;
    this.#sends.run();
    this.listener?.settle();
    return true;
  }

  forwarded(stream: Stream, bytes: number): void {
    this.listener?.forwarded(stream.id, bytes);
  }

  broken(stream: Stream): void {
    this.listener?.broken(stream.id);
  }

  failed(stream: Stream): void {
    this.listener?.failed(stream.id);
  }

  waits(stream: Stream): void {
    if (stream.waiting) return;
    stream.waiting = true;
    stream.watch?.modify(READ_EVENTS | EPOLLOUT);
  }

  #handle(stream: Stream, events: number): void {
    if ((events & EPOLLOUT) !== 0) {
      if (stream.output !== undefined) this.#sends.touch(stream);
      else if (stream.waiting) {
        // The second time that nothing is kept: a stream that was slow for a moment.
        stream.waiting = false;
        stream.watch?.modify(READ_EVENTS);
      }
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.listener?.readable(stream.id);
    if ((events & EPOLLHUP) !== 0 && stream.state === StreamState.Open) this.listener?.hungUp(stream.id);
  }

  #read(): void {
    const { arena } = this.#loop;
    const count = this.#reads;
    if (arena.room < count) arena.submit();
    let last = 0;
    for (let i = 0; i < count; i++) {
      last = arena.queue(this.#calls[i]!, this.#fds[i]!, this.#addresses[i]!, this.#lengths[i]!);
    }
    arena.submit();
    for (let i = 0; i < count; i++) this.#results[i] = arena.result(last - count + 1 + i);
    this.#reads = 0;
    this.#vectors.clear();
  }

  #add(fd: number, state: StreamState): Stream {
    const id = this.#freeIds.pop() ?? this.#streams.length;
    const stream = new Stream(id, fd, state);
    this.#streams[id] = stream;
    this.#open++;
    return stream;
  }

  #watch(stream: Stream): void {
    stream.watch = this.#loop.watch(stream.fd, READ_EVENTS, (events) => {
      stream.events |= events;
      if (stream.noted) return;
      stream.noted = true;
      this.#noted.push(stream);
    });
  }

  #acceptAll(): void {
    for (let i = 0; i < ACCEPTS_PER_TURN; i++) {
      const fd = this.#socket.accept();
      if (fd === -EAGAIN) return;
      if (fd < 0) {
        // Descriptors have run out, most likely. Who waits goes on waiting.
        this.#acceptWatch?.modify(0);
        this.#acceptTimer = setTimeout(() => this.#acceptWatch?.modify(EPOLLIN), ACCEPT_RETRY_MS);
        return;
      }
      if (this.#open >= MAX_CONNECTIONS) this.#loop.arena.invoke(SYS_close, fd);
      else this.#watch(this.#add(fd, StreamState.Asking));
    }
  }

  /** Reads which port of the guest is wanted, and not a byte more. */
  #readCommand(stream: Stream, events: number): void {
    const { arena } = this.#loop;
    const { address, bytes } = this.#scratch;
    const seen = arena.invoke(SYS_recvfrom, stream.fd, address, MAX_COMMAND_SIZE, MSG_PEEK);
    if (seen === -EAGAIN) return;
    const length = seen > 0 ? commandLength(bytes, seen) : 0;
    const mayGoOn = seen > 0 && seen < MAX_COMMAND_SIZE && (events & EPOLLRDHUP) === 0;
    if (length === 0 && mayGoOn) return;
    const port = length > 0 ? parseConnect(Buffer.from(bytes.subarray(0, length)).toString()) : undefined;
    if (port === undefined) {
      this.close(stream.id);
      return;
    }
    arena.invoke(SYS_read, stream.fd, address, length);
    stream.state = StreamState.Open;
    this.listener?.requested(stream.id, port);
    // What has come behind the command is not told again.
    if (stream.state === StreamState.Open) this.#handle(stream, events);
  }

  #connectAgain(): void {
    this.#connectTimer = undefined;
    const waiting = this.#connecting;
    this.#connecting = [];
    const now = performance.now();
    for (const stream of waiting) {
      if (stream.state !== StreamState.Connecting) continue;
      this.#address.set(`${this.#socket.path}_${stream.port}`);
      const result = this.#loop.arena.invoke(SYS_connect, stream.fd, this.#address.address, this.#address.length);
      if (result === 0) {
        stream.state = StreamState.Open;
        this.#watch(stream);
        this.listener?.opened(stream.id);
      } else if (result === -EAGAIN && now < stream.deadline) this.#connecting.push(stream);
      else {
        const { id } = stream;
        this.close(id);
        this.listener?.refused(id);
      }
    }
    if (this.#connecting.length > 0) this.#connectTimer ??= setTimeout(() => this.#connectAgain(), RETRY_MS);
    this.listener?.settle();
  }
}
