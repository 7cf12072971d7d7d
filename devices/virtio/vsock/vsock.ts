import type { AccessSize } from '../../bus.ts';
import { DescriptorChain } from '../chain.ts';
import { feature, VIRTIO_ID_VSOCK } from '../constants.ts';
import { ConfigSpace, type VirtioDevice, type VirtioHost } from '../device.ts';
import { Fault } from '../faults.ts';
import type { VirtQueue } from '../queue.ts';
import type { VsockBackend } from './backend.ts';
import {
  EVENT_QUEUE,
  RX_QUEUE,
  TX_QUEUE,
  VIRTIO_VSOCK_EVENT_TRANSPORT_RESET,
  VIRTIO_VSOCK_F_STREAM,
  VSOCK_CONFIG_SIZE,
  VSOCK_EVENT_SIZE,
  VSOCK_QUEUE_SIZE,
} from './constants.ts';
import { GuestBound } from './guest-bound.ts';
import { VsockMetrics } from './metrics.ts';
import { Muxer } from './muxer.ts';
import { PacketHeader } from './packet-header.ts';

/** A virtio socket device over a backend that knows nothing of virtio (virtio 1.2 section 5.10). */
export class VsockDevice implements VirtioDevice {
  readonly type = VIRTIO_ID_VSOCK;
  readonly name = 'vsock device';
  readonly features = feature(VIRTIO_VSOCK_F_STREAM);
  readonly queueSizes: readonly number[] = [VSOCK_QUEUE_SIZE, VSOCK_QUEUE_SIZE, VSOCK_QUEUE_SIZE];
  readonly metrics = new VsockMetrics();
  readonly #guestCid: number;
  readonly #backend: VsockBackend;
  readonly #muxer: Muxer;
  readonly #config = new ConfigSpace(VSOCK_CONFIG_SIZE);
  readonly #header = new PacketHeader();
  /** Chains of packets from the guest that are being dealt with. */
  readonly #heads = new Uint16Array(VSOCK_QUEUE_SIZE);
  #host: VirtioHost | undefined;
  #chain: DescriptorChain | undefined;
  #guestBound: GuestBound | undefined;
  /** The guest is to be told that all connections are gone, as soon as it has a buffer for that. */
  #resetDue = false;

  /**
   * @param guestCid the guest's context id, 3 to 2³²−2
   * @param now milliseconds of a clock that never goes back
   */
  constructor(guestCid: number, backend: VsockBackend, now: () => number = () => performance.now()) {
    this.#guestCid = guestCid;
    this.#backend = backend;
    this.#muxer = new Muxer(guestCid, backend, this.metrics, now, () => this.#pump());
    this.#config.view.setUint32(0, guestCid, true);
    backend.listener = this.#muxer;
  }

  /** Connections, also those that are still to be told to the guest as being over. */
  get connections(): number {
    return this.#muxer.table.size;
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.#config.read(offset, size);
  }

  /** Nothing in it is the driver's to write. */
  writeConfig(): void {}

  activate(host: VirtioHost): void {
    this.#host = host;
    this.#chain = new DescriptorChain(host.memory, VSOCK_QUEUE_SIZE);
    this.#guestBound = new GuestBound(host, this.#guestCid, this.#muxer, this.#backend, this.metrics);
    host.queues[RX_QUEUE]!.watched = false;
    host.queues[EVENT_QUEUE]!.watched = this.#resetDue;
    this.#backend.start();
  }

  /** A driver that starts anew knows no connections: the host's ends are closed. */
  reset(): void {
    this.#closeAll();
    this.#host = undefined;
    this.#chain = undefined;
    this.#guestBound = undefined;
    this.#resetDue = false;
  }

  resetQueue(queue: number): void {
    if (queue === RX_QUEUE) this.#guestBound!.clear();
  }

  notify(queue: number): void {
    if (queue === TX_QUEUE) this.#takePackets(this.#host!.queues[TX_QUEUE]!);
    else if (queue === RX_QUEUE) {
      this.metrics.rx_queue_event_count++;
      this.#pump();
    } else this.#sendEvent();
  }

  /**
   * Ends all connections and tells the guest that it has to look anew at who it is (section 5.10.6.7): after it was restored from a
   * snapshot, whose connections are others' now.
   */
  transportReset(): void {
    this.#closeAll();
    if (this.#host === undefined) return;
    this.#backend.start();
    this.#resetDue = true;
    this.#sendEvent();
  }

  #closeAll(): void {
    this.#backend.stop();
    this.#muxer.clear();
  }

  #takePackets(queue: VirtQueue): void {
    this.metrics.tx_queue_event_count++;
    const chain = this.#chain!;
    const header = this.#header;
    let count = 0;
    // No more than a queue's worth at once: the guest may add packets as fast as they are taken.
    while (count < queue.size) {
      if (this.#muxer.resets.full) {
        // Until it takes resets, the guest sends nothing more.
        queue.watched = false;
        break;
      }
      if (!queue.pop(chain)) break;
      this.#heads[count++] = chain.head;
      if (!header.read(chain)) {
        queue.fail(Fault.RequestHeader);
        break;
      }
      this.metrics.tx_packets_count++;
      this.#muxer.packet(header, chain);
    }
    this.#backend.submit();
    for (let i = 0; i < count; i++) queue.push(this.#heads[i]!, 0);
    if (queue.publish()) this.#host!.interrupt(TX_QUEUE);
    this.#pump();
  }

  #pump(): void {
    const host = this.#host;
    if (host === undefined) return;
    this.#guestBound!.run();
    if (!this.#muxer.resets.full) host.queues[TX_QUEUE]!.watched = true;
  }

  #sendEvent(): void {
    const host = this.#host!;
    const queue = host.queues[EVENT_QUEUE]!;
    const chain = this.#chain!;
    queue.watched = this.#resetDue;
    if (!this.#resetDue || !queue.pop(chain)) return;
    if (chain.writableLength < VSOCK_EVENT_SIZE) {
      queue.fail(Fault.RequestAnswer);
      return;
    }
    for (let i = 0; i < VSOCK_EVENT_SIZE; i++) chain.putByte((VIRTIO_VSOCK_EVENT_TRANSPORT_RESET >>> (8 * i)) & 0xff);
    queue.push(chain.head, VSOCK_EVENT_SIZE);
    this.#resetDue = false;
    queue.watched = false;
    if (queue.publish()) host.interrupt(EVENT_QUEUE);
  }
}
