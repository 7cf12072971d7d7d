import type { MmioBus } from '../../devices/mmio-bus.ts';
import { Balloon } from '../balloon/balloon.ts';
import { DriveFactory } from '../block/create.ts';
import { inGuestOrder } from '../block/root.ts';
import type { VmConfig } from '../config/types.ts';
import { createEntropy } from '../entropy/create.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Log } from '../log.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { createNetworkInterface } from '../net/create.ts';
import { MmioTransport, type MmioWindow } from '../virtio/mmio.ts';

import { createVsock } from '../vsock/create.ts';

/** What virtio devices are attached to. */
export interface VirtioDevicesHost {
  readonly vm: Vm;
  readonly loop: EventLoop;
  readonly memory: HostMemory;
  readonly mmio: MmioBus;
  readonly log: Log;
}

/** The virtio devices of a configuration, on virtio-mmio. */
export class VirtioDevices {
  readonly balloon: Balloon | undefined;
  readonly #transport: MmioTransport;
  readonly #closers: (() => void)[] = [];

  /** @throws ConfigError, HostError where the host's end of a device cannot be used */
  constructor(config: VmConfig, { vm, loop, memory, mmio, log }: VirtioDevicesHost) {
    const faults = log.child('virtio');
    const guest = { vm, loop, mmio, memory: memory.guest, warn: (message: string) => faults.warn(message) };
    const warn = (message: string) => log.warn(message);
    // Drives before the transport: an io_uring is then looked at before the rings that it fills.
    const factory = new DriveFactory(loop, memory, warn);
    const drives = inGuestOrder(config.drives).map((drive) =>
      factory.create(drive, `/drives/${config.drives.indexOf(drive)}`),
    );
    this.#transport = new MmioTransport(guest);
    this.#closers.push(() => this.#transport.close());
    for (const { device, close } of drives) this.#attach(device, close);
    for (const [index, networkInterface] of config.networkInterfaces.entries()) {
      const link = { kind: 'tap', name: networkInterface.hostDevName } as const;
      const where = `/network-interfaces/${index}`;
      const { device, close } = createNetworkInterface({ loop, memory, warn }, networkInterface, link, where);
      this.#attach(device, close);
    }
    if (config.vsock !== undefined) {
      const { device, close } = createVsock(config.vsock, loop, memory);
      this.#attach(device, close);
    }
    if (config.entropy !== undefined) this.#attach(createEntropy(config.entropy, loop, memory).device);
    if (config.balloon !== undefined) {
      const balloon = new Balloon(config.balloon, loop.arena, memory, config.machine.hugePages);
      this.balloon = balloon;
      this.#attach(balloon.device, () => balloon.close());
    }
  }

  /** Where the guest finds the devices. */
  get windows(): readonly MmioWindow[] {
    return this.#transport.windows;
  }

  /** Writes out and gives back what the host holds for the devices. Only when no vCPU runs. */
  close(): void {
    for (const close of this.#closers) close();
  }

  #attach(device: Parameters<MmioTransport['attach']>[0], close?: () => void): void {
    this.#transport.attach(device);
    if (close !== undefined) this.#closers.push(close);
  }
}
