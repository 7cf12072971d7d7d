import type { MsiSink } from '../../devices/pci/msix.ts';
import { EINVAL } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { type IrqRoute, msiRoute, wiredRoutes } from '../kvm/irq-routing.ts';
import type { Vm } from '../kvm/vm.ts';
import type { NativeArena } from '../loop/arena.ts';
import { IOAPIC_PIN_COUNT } from '../memory/ports.ts';
import { IrqFd } from './irq-fd.ts';

/** The machine's GSI routing table: the interrupt controllers' pins, and the messages behind them. */
export class MsiRoutes {
  readonly #vm: Vm;
  readonly #pins = wiredRoutes();
  readonly #messages = new Map<number, IrqRoute>();
  #nextGsi = IOAPIC_PIN_COUNT;

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  /** A GSI that no pin and no other message has. */
  allocate(): number {
    return this.#nextGsi++;
  }

  /** Sets the message that a GSI sends. What the guest wrote is nothing that KVM could send: then it sends what it sent before. */
  set(gsi: number, addressLow: number, addressHigh: number, data: number): void {
    const before = this.#messages.get(gsi);
    this.#messages.set(gsi, msiRoute(gsi, addressLow, addressHigh, data));
    try {
      this.#vm.setGsiRouting([...this.#pins, ...this.#messages.values()]);
    } catch (error) {
      if (!(error instanceof SystemError && error.errno === EINVAL)) throw error;
      if (before === undefined) this.#messages.delete(gsi);
      else this.#messages.set(gsi, before);
    }
  }
}

/** One function's messages: a GSI and an eventfd for each vector that the guest uses, made when it first does. */
export class MsiVectors implements MsiSink {
  readonly #vm: Vm;
  readonly #arena: NativeArena;
  readonly #routes: MsiRoutes;
  readonly #lines: (IrqFd | undefined)[];

  constructor(vm: Vm, arena: NativeArena, routes: MsiRoutes, count: number) {
    this.#vm = vm;
    this.#arena = arena;
    this.#routes = routes;
    this.#lines = new Array<IrqFd | undefined>(count).fill(undefined);
  }

  route(vector: number, addressLow: number, addressHigh: number, data: number): void {
    const line = this.#lines[vector] ?? new IrqFd(this.#vm, this.#arena, this.#routes.allocate());
    this.#lines[vector] = line;
    this.#routes.set(line.gsi, addressLow, addressHigh, data);
  }

  trigger(vector: number): void {
    this.#lines[vector]?.trigger();
  }

  close(): void {
    for (const line of this.#lines) line?.close();
  }
}
