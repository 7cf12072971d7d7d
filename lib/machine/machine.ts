import { MmioBus } from '../../devices/mmio-bus.ts';
import { PortBus } from '../../devices/port-bus.ts';
import { loadGuest } from '../boot/boot.ts';
import type { VmConfig } from '../config/types.ts';
import { GuestError } from '../errors.ts';
import {
  KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_SYSTEM_EVENT,
  KVM_SYSTEM_EVENT_CRASH,
  KVM_SYSTEM_EVENT_RESET,
  KVM_SYSTEM_EVENT_SHUTDOWN,
} from '../kvm/exits.ts';
import { Kvm } from '../kvm/kvm.ts';
import { kvm_run } from '../kvm/structs.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Log } from '../log.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import { HostMemory } from '../memory/host-memory.ts';
import { InstructionCompleter } from '../vcpu/completion.ts';
import { installKickSignal } from '../vcpu/kick-signal.ts';
import { VcpuRunner } from '../vcpu/runner.ts';
import { VcpuThread } from '../vcpu/thread.ts';
import type { Consoles } from './consoles.ts';
import type { Ending } from './ending.ts';
import { guestImage } from './guest-image.ts';
import { addIsaDevices, type IsaDevices } from './isa-devices.ts';
import { createVcpus } from './vcpus.ts';
import type { VirtioDevices } from './virtio-devices.ts';

/** A panicking kernel has this long, in milliseconds, to print the rest and reset by itself. */
const PANIC_GRACE_MS = 1000;

/**
 * A virtual machine: guest memory, devices and vCPUs, in one event loop.
 *
 * The order of making matters: memory slots that come after KVM_CREATE_IRQCHIP wait for an SRCU grace period, 5 to 11 ms.
 */
export class Machine {
  readonly memory: HostMemory;
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  readonly isa: IsaDevices;
  /** One a vCPU, from `load` on. */
  threads: readonly VcpuThread[] = [];
  /** Where the configuration has any. */
  virtio: VirtioDevices | undefined;
  readonly #config: VmConfig;
  readonly #log: Log;
  readonly #loop: EventLoop;
  readonly #consoles: Pick<Consoles, 'virtio'>;
  readonly #kvm: Kvm;
  readonly #vm: Vm;
  /** What is still to be done, with the loop running, between the guest's end and the loop's. */
  beforeStop: (ending: Ending | undefined) => Promise<void> = async () => {};
  #runner: VcpuRunner | undefined;
  #completers: InstructionCompleter[] = [];
  #panicking = false;
  /** Exits that ended the machine because nothing could be done about them. */
  #failures = 0;
  #ending: Ending | undefined;
  #failure: unknown;

  /**
   * Makes the machine's memory, interrupt controllers and devices; `load` follows.
   *
   * @param consoles the host's ends of the guest's consoles
   * @throws MvmError where the host does not allow it
   */
  constructor(config: VmConfig, log: Log, loop: EventLoop, consoles: Pick<Consoles, 'serial' | 'virtio'>) {
    this.#config = config;
    this.#log = log;
    this.#loop = loop;
    this.#consoles = consoles;
    this.#kvm = new Kvm();
    this.#vm = this.#kvm.createVm();
    this.memory = new HostMemory(config.machine.memorySize, config.machine.hugePages);
    for (const [slot, region] of this.memory.guest.regions.entries()) {
      this.#vm.setMemoryRegion(slot, region, this.memory.addressOf(region.offset));
    }
    this.#vm.reserveIntelPages();
    this.#vm.createIrqchip();
    this.#vm.createPit2();

    const unclaimed = log.child('bus');
    this.ports = new PortBus((port, _size, write) =>
      unclaimed.debug(`nothing answers at port 0x${port.toString(16)} (${write ? 'write' : 'read'})`),
    );
    this.mmio = new MmioBus((address, _size, write) =>
      unclaimed.debug(`nothing answers at address 0x${address.toString(16)} (${write ? 'write' : 'read'})`),
    );
    this.isa = addIsaDevices(
      this.ports,
      this.#vm,
      loop.arena,
      consoles.serial,
      (ending) => this.end(ending),
      () => this.#panicked(),
    );
    const { serial } = this.isa;
    if (serial !== undefined) loop.beforeSleep(() => serial.settle());
  }

  /**
   * Loads the guest and makes its vCPUs, each standing at its first instruction. Their threads are still to be started.
   * @throws ConfigError where kernel, initrd or command line do not fit
   */
  async load(): Promise<void> {
    const { machine, cpu } = this.#config;
    await this.#addVirtioDevices();
    const guest = await loadGuest(guestImage(this.#config, this.memory.guest, this.virtio?.places));
    const { vcpus, facts } = createVcpus(this.#kvm, this.#vm, machine, cpu?.cpuid, guest.cpu);
    // It makes virtual machines, and has made its last.
    this.#kvm.close();
    const { arena } = this.#loop;
    installKickSignal(arena.code.addressOf('signal'));
    this.#completers = vcpus.map((vcpu) => new InstructionCompleter(vcpu, this.memory, arena, facts));
    this.threads = vcpus.map((vcpu) => new VcpuThread(vcpu, this.#loop));
    this.#runner = new VcpuRunner(this.threads, this.#loop, this.ports, this.mmio, (thread, reason) =>
      this.#handleExit(thread, reason),
    );
    await this.virtio?.ready();
  }

  /** Loaded only where there are any: most of the code of mvm is theirs. */
  async #addVirtioDevices(): Promise<void> {
    const config = this.#config;
    if (!hasVirtioDevices(config)) return;
    const { VirtioDevices } = await import('./virtio-devices.ts');
    const { memory, mmio, ports } = this;
    this.virtio = await VirtioDevices.create(config, {
      vm: this.#vm,
      loop: this.#loop,
      memory,
      mmio,
      ports,
      log: this.#log,
      console: this.#consoles.virtio,
    });
  }

  /** Runs the guest until it ends. @throws GuestError where it crashed; what a device or the host threw */
  async run(): Promise<Ending> {
    this.#runner?.resume();
    try {
      await this.#loop.run();
    } catch (error) {
      // A device or the host failed. The loop goes on for as long as it takes to stop the guest and to bring out what it printed.
      this.fail(error);
      await this.#loop.run();
    }
    if (this.#failure !== undefined) throw this.#failure;
    return this.#ending ?? { kind: 'stopped' };
  }

  /** Stops the guest for good; the first reason counts. */
  end(ending: Ending): void {
    if (this.#ending !== undefined || this.#failure !== undefined) return;
    // A kernel that resets because it panicked has panicked.
    this.#ending = this.#panicking && ending.kind === 'reset' ? { kind: 'panic' } : ending;
    this.#halt();
  }

  /** Stops the guest for good because of an error, which `run` then throws. */
  fail(error: unknown): void {
    if (this.#ending === undefined) this.#failure ??= error;
    this.#halt();
  }

  /** Brings all vCPUs to a standstill; their registers are then complete. */
  async pause(): Promise<void> {
    await this.#runner?.pause();
  }

  resume(): void {
    if (this.#ending === undefined && this.#failure === undefined) this.#runner?.resume();
  }

  /** Guest exits that reached mvm, and instructions that it completed. */
  get counters() {
    return {
      vcpu: {
        ...this.#runner?.counters,
        exits: this.#runner?.exits ?? 0,
        completed_instructions: this.#completers.reduce((sum, { completed }) => sum + completed, 0),
        failures: this.#failures,
      },
      bus: {
        unclaimed_port_accesses: this.ports.unclaimed.reads + this.ports.unclaimed.writes,
        unclaimed_address_accesses: this.mmio.unclaimed.reads + this.mmio.unclaimed.writes,
      },
    };
  }

  #halt(): void {
    void this.#windDown();
  }

  async #windDown(): Promise<void> {
    try {
      await this.#runner?.pause();
      this.#runner?.join();
      this.virtio?.close();
      await this.beforeStop(this.#ending);
    } catch (error) {
      this.#failure ??= error;
    }
    this.#loop.stop();
  }

  #panicked(): void {
    this.#log.warn("the guest's kernel panicked");
    this.#panicking = true;
    setTimeout(() => this.end({ kind: 'panic' }), PANIC_GRACE_MS);
  }

  #handleExit(thread: VcpuThread, reason: number): boolean {
    const { view } = thread.vcpu.run;
    try {
      switch (reason) {
        case KVM_EXIT_INTERNAL_ERROR:
          this.#completers[thread.vcpu.id]!.complete();
          return true;
        case KVM_EXIT_SHUTDOWN:
          this.end({ kind: 'triple-fault', rip: thread.vcpu.getRegs().rip });
          return false;
        case KVM_EXIT_SYSTEM_EVENT:
          this.#systemEvent(kvm_run.get(view, 'system_event.type'));
          return false;
        case KVM_EXIT_FAIL_ENTRY: {
          const code = kvm_run.get(view, 'fail_entry.hardware_entry_failure_reason');
          throw new GuestError(`the processor refused to enter the guest (reason 0x${code.toString(16)})`);
        }
        default:
          throw new GuestError(
            `vCPU ${thread.vcpu.id} left the guest for a reason that mvm does not handle (${reason})`,
          );
      }
    } catch (error) {
      this.#failures++;
      this.fail(error);
      return false;
    }
  }

  #systemEvent(type: number): void {
    if (type === KVM_SYSTEM_EVENT_SHUTDOWN) this.end({ kind: 'power-off' });
    else if (type === KVM_SYSTEM_EVENT_RESET) this.end({ kind: 'reset' });
    else if (type === KVM_SYSTEM_EVENT_CRASH) this.end({ kind: 'panic' });
    else throw new GuestError(`KVM reported a system event that mvm does not handle (${type})`);
  }
}

function hasVirtioDevices({ console, drives, networkInterfaces, vsock, entropy, balloon }: VmConfig): boolean {
  const isAny = [vsock, entropy, balloon].some((one) => one !== undefined);
  return console.kind !== 'none' || drives.length > 0 || networkInterfaces.length > 0 || isAny;
}
