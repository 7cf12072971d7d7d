import type { VirtioCore } from '../../devices/virtio/core.ts';
import type { VirtioDevice } from '../../devices/virtio/device.ts';
import { VIRTIO_MMIO_QUEUE_NOTIFY, VirtioMmio } from '../../devices/virtio/mmio.ts';
import type { VirtioMmioDevice, VirtioPlaces } from '../boot/devices.ts';
import { ConfigError } from '../errors.ts';
import { VIRTIO_MMIO_START, VIRTIO_MMIO_STRIDE } from '../memory/layout.ts';
import { VIRTIO_MMIO_GSIS } from '../memory/ports.ts';
import { type VirtioHostOptions, VirtioPoller, type VirtioTransport } from './host.ts';
import { IrqFd } from './irq-fd.ts';
import { QueueNotifiers } from './notifiers.ts';

/** virtio-mmio: each device gets a window of 4 KiB and an interrupt of the IOAPIC. */
export class MmioTransport implements VirtioTransport {
  /** In the order in which devices were attached: what the guest has to be told. */
  readonly windows: VirtioMmioDevice[] = [];
  readonly #options: VirtioHostOptions;
  readonly #poller = new VirtioPoller();
  readonly #closers: (() => void)[] = [];

  constructor(options: VirtioHostOptions) {
    this.#options = options;
    options.loop.addPoller(this.#poller);
  }

  get places(): VirtioPlaces {
    return { virtioMmio: this.windows };
  }

  attach(device: VirtioDevice): VirtioCore {
    const { vm, loop, mmio } = this.#options;
    const gsi = VIRTIO_MMIO_GSIS[this.windows.length];
    if (gsi === undefined) {
      throw new ConfigError(`more than ${VIRTIO_MMIO_GSIS.length} virtio devices`, {
        hint: 'use --transport pci, which has room for 31',
      });
    }
    const core = this.#poller.add(device, this.#options);
    const address = VIRTIO_MMIO_START + this.windows.length * VIRTIO_MMIO_STRIDE;
    const line = new IrqFd(vm, loop.arena, gsi);
    mmio.add(address, VIRTIO_MMIO_STRIDE, new VirtioMmio(core, line));
    this.windows.push({ address, size: VIRTIO_MMIO_STRIDE, gsi });
    const notifiers = new QueueNotifiers(vm, loop);
    const places = core.queues.map(({ index }) => {
      return { address: address + VIRTIO_MMIO_QUEUE_NOTIFY, size: 4 as const, match: index };
    });
    core.listener = { activated: () => notifiers.place(places) };
    this.#closers.push(() => {
      notifiers.close();
      line.close();
    });
    return core;
  }

  close(): void {
    this.#options.loop.removePoller(this.#poller);
    for (const close of this.#closers) close();
  }
}
