import type { MmioBus } from '../../devices/mmio-bus.ts';
import type { PortBus } from '../../devices/port-bus.ts';
import { VirtioCore } from '../../devices/virtio/core.ts';
import type { VirtioDevice } from '../../devices/virtio/device.ts';
import { FaultLog } from '../../devices/virtio/faults.ts';
import type { VirtioPlaces } from '../boot/devices.ts';
import type { Vm } from '../kvm/vm.ts';
import type { EventLoop, Poller } from '../loop/event-loop.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';

/** What virtio devices need of the machine. */
export interface VirtioHostOptions {
  readonly vm: Vm;
  readonly loop: EventLoop;
  readonly memory: GuestMemory;
  readonly mmio: MmioBus;
  readonly ports: PortBus;
  /** Takes one line: a guest's driver is at fault. */
  readonly warn: (message: string) => void;
}

/** Puts devices on a machine's bus, one transport for all. */
export interface VirtioTransport {
  /** Where the guest finds the devices that were attached: for the boot tables. */
  readonly places: VirtioPlaces;
  /** @throws ConfigError where there is no more room */
  attach(device: VirtioDevice): VirtioCore;
  /** Gives back what the host holds for it, when the machine has ended. */
  close(): void;
}

/** Looks at the rings of all virtio devices while the loop is awake, and has them announce themselves before it sleeps. */
export class VirtioPoller implements Poller {
  readonly #cores: VirtioCore[] = [];

  /** Makes the state that any transport has for a device, and looks after its rings. */
  add(device: VirtioDevice, { memory, warn }: Pick<VirtioHostOptions, 'memory' | 'warn'>): VirtioCore {
    const core = new VirtioCore(device, memory, new FaultLog(device.name, warn));
    this.#cores.push(core);
    return core;
  }

  poll(): boolean {
    let found = false;
    for (let i = 0; i < this.#cores.length; i++) {
      if (this.#cores[i]!.poll()) found = true;
    }
    return found;
  }

  listen(): boolean {
    let found = false;
    for (let i = 0; i < this.#cores.length; i++) {
      if (this.#cores[i]!.listen()) found = true;
    }
    return found;
  }

  ignore(): void {
    for (let i = 0; i < this.#cores.length; i++) this.#cores[i]!.ignore();
  }
}
