import { Kvm } from '../../lib/kvm/kvm.ts';
import { KvmVcpu } from '../../lib/kvm/vcpu.ts';
import type { Vm } from '../../lib/kvm/vm.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { HostMemory } from '../../lib/memory/host-memory.ts';
import { MIB } from '../../lib/memory/layout.ts';
import type { AddressSpace } from '../../lib/vcpu/exit-reader.ts';
import { installKickSignal } from '../../lib/vcpu/kick-signal.ts';
import { type OtherExitHandler, VcpuRunner } from '../../lib/vcpu/runner.ts';
import { VcpuThread } from '../../lib/vcpu/thread.ts';

/** Where the code of a tiny guest lies, and its first instruction. */
export const CODE = 0x1000;

/** One access of a guest, as a bus sees it. */
export interface Access {
  readonly write: boolean;
  readonly address: number;
  readonly size: number;
  readonly value: number;
}

/** Records accesses; reads give `answer`. */
export class RecordingSpace implements AddressSpace {
  readonly accesses: Access[] = [];
  answer = 0;
  onAccess: (access: Access) => void = () => {};

  read(address: number, size: number): number {
    this.#note({ write: false, address, size, value: this.answer });
    return this.answer;
  }

  write(address: number, size: number, value: number): void {
    this.#note({ write: true, address, size, value });
  }

  #note(access: Access): void {
    this.accesses.push(access);
    this.onAccess(access);
  }
}

/** A machine of 2 MiB in real mode on the real KVM: no BIOS, no tables, only code at `CODE` of segment 0. */
export class TinyVm {
  readonly loop = new EventLoop();
  readonly memory = new HostMemory(2 * MIB, 'None');
  readonly ports = new RecordingSpace();
  readonly mmio = new RecordingSpace();
  readonly vm: Vm;
  readonly vcpus: KvmVcpu[];
  readonly runner: VcpuRunner;
  readonly #kvm = new Kvm();
  #running: Promise<void> | undefined;

  /** @param code machine code for each vCPU; it starts with RAX…RDI of 0 */
  constructor(code: readonly Uint8Array[], onOther: OtherExitHandler = () => false) {
    this.vm = this.#kvm.createVm();
    const [region] = this.memory.guest.regions;
    this.vm.setMemoryRegion(0, region!, this.memory.addressOf(region!.offset));
    this.vm.reserveIntelPages();
    this.vm.createIrqchip();
    installKickSignal(this.loop.arena.code.addressOf('signal'));
    const mmapSize = this.#kvm.vcpuMmapSize;
    this.vcpus = code.map((bytes, id) => {
      const vcpu = new KvmVcpu(id, this.vm.createVcpu(id), mmapSize);
      const start = CODE + id * 0x1000;
      this.memory.guest.write(start, bytes);
      const sregs = vcpu.getSregs();
      vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } });
      vcpu.setRegs({ rip: start, rflags: 2 });
      vcpu.setMpState(0);
      return vcpu;
    });
    const threads = this.vcpus.map((vcpu) => new VcpuThread(vcpu, this.loop));
    for (const thread of threads) thread.start();
    this.runner = new VcpuRunner(threads, this.loop, this.ports, this.mmio, onOther);
  }

  /** Starts the loop and the guest. */
  start(): void {
    this.#running = this.loop.run();
    this.runner.resume();
  }

  /** Ends the vCPU threads and everything else. */
  async end(): Promise<void> {
    await this.runner.pause();
    this.runner.join();
    this.loop.stop();
    await this.#running;
    for (const vcpu of this.vcpus) vcpu.close();
    this.vm.close();
    this.#kvm.close();
    this.loop.close();
  }
}
