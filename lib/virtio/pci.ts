import { BarSpace } from '../../devices/pci/bar-space.ts';
import { PciBus } from '../../devices/pci/bus.ts';
import type { VirtioCore } from '../../devices/virtio/core.ts';
import type { VirtioDevice } from '../../devices/virtio/device.ts';
import { NOTIFY_MULTIPLIER, VIRTIO_PCI_BAR_SIZE } from '../../devices/virtio/pci/layout.ts';
import { VirtioPci, vectorCountOf } from '../../devices/virtio/pci/transport.ts';
import type { VirtioPlaces } from '../boot/devices.ts';
import { ConfigError } from '../errors.ts';
import {
  MMIO_HOLE_END,
  MMIO_HOLE_START,
  PCI_ECAM_SIZE,
  PCI_ECAM_START,
  PCI_MMIO_SIZE,
  PCI_MMIO_START,
} from '../memory/layout.ts';
import { PCI_CONFIG_ADDRESS_PORT } from '../memory/ports.ts';
import { type VirtioHostOptions, VirtioPoller, type VirtioTransport } from './host.ts';
import { MsiRoutes, MsiVectors } from './msi.ts';
import { type NotifyPlace, QueueNotifiers } from './notifiers.ts';

/** Ports of CONFIG_ADDRESS and CONFIG_DATA. */
const CONFIG_PORT_COUNT = 8;

/** Modern virtio-pci on bus 0, with MSI-X: no interrupt pins, so the guest needs an irqchip in KVM that routes messages. */
export class PciTransport implements VirtioTransport {
  readonly bus = new PciBus();
  /** No interrupt pins to route: all is MSI-X. */
  readonly places: VirtioPlaces = { virtioMmio: [], pci: { interrupts: [], hasIoPorts: true } };
  readonly #options: VirtioHostOptions;
  readonly #poller = new VirtioPoller();
  readonly #routes: MsiRoutes;
  readonly #bars: BarSpace;
  readonly #closers: (() => void)[] = [];
  #nextBar = PCI_MMIO_START;

  /** Puts the bus's configuration space into memory (ECAM) and behind ports 0xcf8 to 0xcff. */
  constructor(options: VirtioHostOptions) {
    this.#options = options;
    const { vm, loop, mmio, ports } = options;
    this.#routes = new MsiRoutes(vm);
    this.#bars = new BarSpace(mmio, MMIO_HOLE_START, MMIO_HOLE_END);
    mmio.add(PCI_ECAM_START, PCI_ECAM_SIZE, this.bus.ecam);
    ports.add(PCI_CONFIG_ADDRESS_PORT, CONFIG_PORT_COUNT, this.bus.ports);
    loop.addPoller(this.#poller);
  }

  attach(device: VirtioDevice): VirtioCore {
    const { vm, loop } = this.#options;
    const core = this.#poller.add(device, this.#options);
    const vectors = new MsiVectors(vm, loop.arena, this.#routes, vectorCountOf(core));
    const pci = new VirtioPci(core, this.#bars, this.#placeBar(), vectors);
    try {
      this.bus.add(pci);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new ConfigError('more than 31 virtio devices', { hint: 'leave some out', cause: error });
    }
    const notifiers = new QueueNotifiers(vm, loop);
    let started = false;
    const place = (): void => {
      const { notifyAddress } = pci;
      if (!started || notifyAddress === undefined) notifiers.remove();
      else notifiers.place(notifyPlaces(core, notifyAddress));
    };
    core.listener = {
      activated: () => {
        started = true;
        place();
      },
    };
    pci.listener = { notifyMoved: place };
    this.#closers.push(() => {
      notifiers.close();
      vectors.close();
    });
    return core;
  }

  close(): void {
    this.#options.loop.removePoller(this.#poller);
    for (const close of this.#closers) close();
  }

  #placeBar(): number {
    const address = this.#nextBar;
    this.#nextBar += VIRTIO_PCI_BAR_SIZE;
    if (this.#nextBar > PCI_MMIO_START + PCI_MMIO_SIZE) throw new RangeError('the PCI memory window is full');
    return address;
  }
}

/** A write of any width to a queue's own address: KVM has its fastest path for those (KVM_CAP_IOEVENTFD_ANY_LENGTH). */
function notifyPlaces(core: VirtioCore, address: number): NotifyPlace[] {
  return core.queues.map(({ index }) => ({ address: address + NOTIFY_MULTIPLIER * index, size: 0 }));
}
