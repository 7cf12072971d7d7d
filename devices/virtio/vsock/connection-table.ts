import { type Connection, ConnectionState } from './connection.ts';

const BUCKETS = 1024;
/** Ports of the host's end of connections that the host asked for: Firecracker's, from 2³⁰ up to 2³¹. */
const FIRST_HOST_PORT = 0x4000_0000;
const LAST_HOST_PORT = 0x7fff_ffff;

/** All connections, found by their ports or by their stream. Finding allocates nothing. */
export class ConnectionTable {
  readonly #buckets = new Array<Connection | undefined>(BUCKETS).fill(undefined);
  readonly #byStream: (Connection | undefined)[] = [];
  #size = 0;
  #lastHostPort = LAST_HOST_PORT;

  get size(): number {
    return this.#size;
  }

  find(hostPort: number, guestPort: number): Connection | undefined {
    let connection = this.#buckets[bucketOf(hostPort, guestPort)];
    while (connection !== undefined) {
      if (connection.hostPort === hostPort && connection.guestPort === guestPort) return connection;
      connection = connection.nextInBucket;
    }
    return undefined;
  }

  /** Undefined where the stream belongs to no connection any more. */
  ofStream(stream: number): Connection | undefined {
    return this.#byStream[stream];
  }

  /** Only where there is none of these ports. */
  add(connection: Connection): void {
    const bucket = bucketOf(connection.hostPort, connection.guestPort);
    connection.nextInBucket = this.#buckets[bucket];
    this.#buckets[bucket] = connection;
    this.#byStream[connection.stream] = connection;
    this.#size++;
  }

  remove(connection: Connection): void {
    this.forgetStream(connection.stream);
    const bucket = bucketOf(connection.hostPort, connection.guestPort);
    let before: Connection | undefined;
    for (let each = this.#buckets[bucket]; each !== undefined; each = each.nextInBucket) {
      if (each === connection) {
        if (before === undefined) this.#buckets[bucket] = connection.nextInBucket;
        else before.nextInBucket = connection.nextInBucket;
        this.#size--;
        break;
      }
      before = each;
    }
    connection.nextInBucket = undefined;
    connection.state = ConnectionState.Gone;
  }

  /** The stream is closed, and its number may be another's soon. */
  forgetStream(stream: number): void {
    if (stream >= 0) this.#byStream[stream] = undefined;
  }

  /** A port for the host's end of a connection to a port of the guest. */
  allocateHostPort(guestPort: number): number {
    do {
      this.#lastHostPort = this.#lastHostPort === LAST_HOST_PORT ? FIRST_HOST_PORT : this.#lastHostPort + 1;
    } while (this.find(this.#lastHostPort, guestPort) !== undefined);
    return this.#lastHostPort;
  }

  /** Calls for each connection; `visit` may remove the one that it is given. */
  forEach(visit: (connection: Connection) => void): void {
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      let connection = this.#buckets[bucket];
      while (connection !== undefined) {
        const next: Connection | undefined = connection.nextInBucket;
        visit(connection);
        connection = next;
      }
    }
  }

  clear(): void {
    this.#buckets.fill(undefined);
    this.#byStream.length = 0;
    this.#size = 0;
  }
}

function bucketOf(hostPort: number, guestPort: number): number {
  // Consecutive ports on either side, which is what they are, fall into different buckets.
  return (Math.imul(hostPort, 0x9e37_79b1) ^ guestPort) & (BUCKETS - 1);
}
