import type { MmioBus } from '../../devices/mmio-bus.ts';
import type { PortBus } from '../../devices/port-bus.ts';
import type { VirtioCore } from '../../devices/virtio/core.ts';
import type { VirtioDevice } from '../../devices/virtio/device.ts';
import { Balloon } from '../balloon/balloon.ts';
import { DriveFactory } from '../block/create.ts';
import { inGuestOrder } from '../block/root.ts';
import type { VirtioPlaces } from '../boot/devices.ts';
import type { Transport, VmConfig } from '../config/types.ts';
import { createVirtioConsole, type VirtioConsoleEnds } from '../console/create.ts';
import { createEntropy } from '../entropy/create.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Log } from '../log.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { createNetworkInterface } from '../net/create.ts';
import type { VirtioHostOptions, VirtioTransport } from '../virtio/host.ts';
import { createVsock } from '../vsock/create.ts';

/** What virtio devices are attached to. */
export interface VirtioDevicesHost {
  readonly vm: Vm;
  readonly loop: EventLoop;
  readonly memory: HostMemory;
  readonly mmio: MmioBus;
  readonly ports: PortBus;
  readonly log: Log;
  /** The host's end of the virtio console, where there is to be one. */
  readonly console: VirtioConsoleEnds | undefined;
}

/** What a device counts, and how metrics name it: `block` and `rootfs`, or `vsock`. */
export interface DeviceCounters {
  readonly kind: 'block' | 'net' | 'vsock' | 'entropy' | 'balloon' | 'console';
  /** Of one of several devices of its kind. */
  readonly id: string | undefined;
  readonly metrics: object;
  readonly core: VirtioCore;
}

/** The virtio devices of a configuration, on the transport that it names. */
export class VirtioDevices {
  readonly balloon: Balloon | undefined;
  readonly counters: DeviceCounters[] = [];
  readonly #transport: VirtioTransport;
  readonly #closers: (() => void)[] = [];
  readonly #starting: (() => Promise<void>)[] = [];

  /** @throws ConfigError, HostError where the host's end of a device cannot be used */
  static async create(config: VmConfig, host: VirtioDevicesHost): Promise<VirtioDevices> {
    return new VirtioDevices(config, host, await loadTransport(config.machine.transport));
  }

  private constructor(
    config: VmConfig,
    { vm, loop, memory, mmio, ports, log, console }: VirtioDevicesHost,
    createTransport: TransportFactory,
  ) {
    const faults = log.child('virtio');
    const guest = { vm, loop, mmio, ports, memory: memory.guest, warn: (message: string) => faults.warn(message) };
    const warn = (message: string) => log.warn(message);
    // Drives before the transport: an io_uring is then looked at before the rings that it fills.
    const factory = new DriveFactory(loop, memory, warn);
    const drives = inGuestOrder(config.drives).map((drive) =>
      factory.create(drive, `/drives/${config.drives.indexOf(drive)}`),
    );
    this.#transport = createTransport(guest);
    this.#closers.push(() => this.#transport.close());
    // First, so that the guest shows what it makes of the others.
    if (console !== undefined) this.#attach('console', createVirtioConsole(console));
    for (const {
      config: { id },
      device,
      close,
    } of drives)
      this.#attach('block', device, close, id);
    for (const [index, networkInterface] of config.networkInterfaces.entries()) {
      const where = `/network-interfaces/${index}`;
      const { device, ready, close } = createNetworkInterface({ loop, memory, warn }, networkInterface, where);
      this.#attach('net', device, close, networkInterface.id);
      if (ready !== undefined) this.#starting.push(ready);
    }
    if (config.vsock !== undefined) {
      const { device, close } = createVsock(config.vsock, loop, memory);
      this.#attach('vsock', device, close);
    }
    if (config.entropy !== undefined) this.#attach('entropy', createEntropy(config.entropy, loop, memory).device);
    if (config.balloon !== undefined) {
      const balloon = new Balloon(config.balloon, loop.arena, memory, config.machine.hugePages);
      this.balloon = balloon;
      this.#attach('balloon', balloon.device, () => balloon.close());
    }
  }

  /** Where the guest finds the devices. */
  get places(): VirtioPlaces {
    return this.#transport.places;
  }

  /** Waits for those of the host's ends that take a while to start. @throws ConfigError, HostError where one does not */
  async ready(): Promise<void> {
    for (const ready of this.#starting) await ready();
  }

  /** Writes out and gives back what the host holds for the devices. Only when no vCPU runs. */
  close(): void {
    for (const close of this.#closers) close();
  }

  #attach(
    kind: DeviceCounters['kind'],
    device: VirtioDevice & { readonly metrics: object },
    close?: () => void,
    id?: string,
  ): void {
    const core = this.#transport.attach(device);
    this.counters.push({ kind, id, metrics: device.metrics, core });
    if (close !== undefined) this.#closers.push(close);
  }
}

type TransportFactory = (options: VirtioHostOptions) => VirtioTransport;

/** Only the one that is used. */
async function loadTransport(name: Transport): Promise<TransportFactory> {
  if (name === 'pci') {
    const { PciTransport } = await import('../virtio/pci.ts');
    return (options) => new PciTransport(options);
  }
  const { MmioTransport } = await import('../virtio/mmio.ts');
  return (options) => new MmioTransport(options);
}
