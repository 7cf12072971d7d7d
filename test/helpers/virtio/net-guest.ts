import type { NetBackend } from '../../../devices/virtio/net/backend.ts';
import { NetDevice, type NetOptions } from '../../../devices/virtio/net/net.ts';
import type { EventLoop, Poller } from '../../../lib/loop/event-loop.ts';
import { HostMemory } from '../../../lib/memory/host-memory.ts';
import { MERGING, NetDriver } from './net-driver.ts';
import { GuestAllocator } from './ring.ts';

/** Where buffers lie, above the rings. */
const BUFFERS = 1 << 20;
const MEMORY_SIZE = 16 << 20;

/** A guest that drives a network device over a real backend. */
export class NetGuest implements Poller {
  readonly memory = new HostMemory(MEMORY_SIZE, 'None');
  readonly backend: NetBackend;
  readonly device: NetDevice;
  readonly driver: NetDriver;
  readonly frames: Uint8Array[] = [];
  readonly #posted: number;
  readonly #length: number;

  /** @param create makes the backend, from the host address of the guest's buffer, or its memory */
  constructor(
    create: (guest: number, memory: HostMemory) => NetBackend,
    options: Partial<NetOptions> & { features?: readonly number[]; buffers?: number; bufferLength?: number } = {},
  ) {
    this.backend = create(this.memory.addressOf(0), this.memory);
    this.device = new NetDevice(this.backend, { id: 'eth0', ...options });
    this.driver = new NetDriver('mmio', this.device, this.memory.guest);
    this.driver.start({ features: options.features ?? MERGING, queueSize: 256 });
    this.driver.allocator = new GuestAllocator(BUFFERS);
    this.#posted = options.buffers ?? 128;
    this.#length = options.bufferLength ?? 1526;
    this.driver.post(this.#posted, this.#length);
  }

  /** Does what a guest does: takes frames, and makes their buffers available again. */
  poll(): boolean {
    const found = this.driver.core.poll();
    const before = this.driver.ring(0).freeDescriptors;
    for (const { bytes } of this.driver.received()) this.frames.push(bytes);
    const back = this.driver.ring(0).freeDescriptors - before;
    // Buffers are taken anew in turns of the memory above the rings.
    if (this.driver.allocate(1) > MEMORY_SIZE - (4 << 20)) this.driver.allocator = new GuestAllocator(BUFFERS);
    if (back > 0) this.driver.post(back, this.#length);
    this.driver.sent();
    return found || back > 0;
  }
}

/** Runs the loop with guests in it until something has come about. @throws where it does not within 20 s */
export async function runUntil(
  loop: EventLoop,
  guests: readonly Poller[],
  done: () => boolean,
  step: () => void = () => {},
): Promise<void> {
  let met = false;
  const poller: Poller = {
    poll() {
      let found = false;
      for (const guest of guests) if (guest.poll()) found = true;
      step();
      met = done();
      if (met) loop.stop();
      return found;
    },
  };
  const wake = setInterval(() => {}, 5);
  const limit = setTimeout(() => loop.stop(), 20_000);
  loop.addPoller(poller);
  try {
    await loop.run();
  } finally {
    loop.removePoller(poller);
    clearInterval(wake);
    clearTimeout(limit);
  }
  if (!met) throw new Error('it did not come about');
}
