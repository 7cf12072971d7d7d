import type { AccessSize } from '../../bus.ts';
import { feature, VIRTIO_ID_NET } from '../constants.ts';
import { ConfigSpace, type VirtioDevice, type VirtioHost } from '../device.ts';
import type { RequestLimiter } from '../limiter.ts';
import type { NetBackend, NetListener } from './backend.ts';
import {
  NET_QUEUE_SIZE,
  NetConfig,
  RECEIVE_QUEUE,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_F_MTU,
  VIRTIO_NET_F_STATUS,
  VIRTIO_NET_S_LINK_UP,
} from './constants.ts';
import { NetMetrics } from './metrics.ts';
import { Receiver } from './receiver.ts';
import { Transmitter } from './transmitter.ts';

export interface NetOptions {
  readonly id: string;
  /** Six bytes; without them the driver makes an address of its own. */
  readonly mac?: Uint8Array | undefined;
  /** Bytes; announced to the driver. */
  readonly mtu?: number | undefined;
  readonly receiveLimiter?: RequestLimiter | undefined;
  readonly transmitLimiter?: RequestLimiter | undefined;
}

/** A virtio network device (virtio 1.2 section 5.1) over a backend that knows nothing of queues. */
export class NetDevice implements VirtioDevice, NetListener {
  readonly type = VIRTIO_ID_NET;
  readonly name: string;
  readonly features: bigint;
  readonly queueSizes: readonly number[] = [NET_QUEUE_SIZE, NET_QUEUE_SIZE];
  readonly metrics = new NetMetrics();
  readonly #backend: NetBackend;
  readonly #receiver: Receiver;
  readonly #transmitter: Transmitter;
  readonly #config = new ConfigSpace(NetConfig.SIZE);
  #host: VirtioHost | undefined;

  constructor(backend: NetBackend, options: NetOptions) {
    const { id, mac, mtu, receiveLimiter, transmitLimiter } = options;
    this.name = `network interface "${id}"`;
    this.#backend = backend;
    let features = backend.features | feature(VIRTIO_NET_F_MRG_RXBUF) | feature(VIRTIO_NET_F_STATUS);
    const { view } = this.#config;
    view.setUint16(NetConfig.max_virtqueue_pairs, 1, true);
    if (mac !== undefined) {
      features |= feature(VIRTIO_NET_F_MAC);
      for (const [i, byte] of mac.entries()) view.setUint8(NetConfig.mac + i, byte);
    }
    if (mtu !== undefined) {
      features |= feature(VIRTIO_NET_F_MTU);
      view.setUint16(NetConfig.mtu, mtu, true);
    }
    this.features = features;
    this.#receiver = new Receiver(backend, receiveLimiter, this.metrics);
    this.#transmitter = new Transmitter(backend, transmitLimiter, this.metrics, mac);
    this.#describe();
    backend.listener = this;
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.#config.read(offset, size);
  }

  /** Section 5.1.4.1: the MAC address is not written here by drivers of VERSION_1, and nothing else is theirs either. */
  writeConfig(): void {}

  activate(host: VirtioHost): void {
    this.#host = host;
    this.#backend.configure(host.features);
    this.#receiver.activate(host);
    this.#transmitter.activate(host);
  }

  reset(): void {
    this.#receiver.reset();
    this.#transmitter.reset();
    this.#host = undefined;
  }

  resetQueue(queue: number): void {
    if (queue === RECEIVE_QUEUE) this.#receiver.resetQueue();
    else this.#transmitter.resetQueue();
  }

  notify(queue: number): void {
    if (queue === RECEIVE_QUEUE) this.#receiver.notify();
    else this.#transmitter.notify();
  }

  receive(): boolean {
    return this.#receiver.receive();
  }

  writable(): void {
    this.#transmitter.writable();
  }

  linkChanged(): void {
    this.#describe();
    this.#host?.configChanged();
  }

  #describe(): void {
    this.#config.view.setUint16(NetConfig.status, this.#backend.linkUp ? VIRTIO_NET_S_LINK_UP : 0, true);
  }
}

/** The six bytes of a MAC address as the configuration has it, `06:00:ac:10:00:02`. */
export function parseMac(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (octet) => Number.parseInt(octet, 16));
}
