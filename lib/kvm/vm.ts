import { tryCall } from '../ffi/libc.ts';
import type { MemoryRegion } from '../memory/guest-memory.ts';
import { KVM_IDENTITY_MAP_ADDRESS, KVM_TSS_ADDRESS } from '../memory/layout.ts';
import { ioctl, ioctlBytes, ioctlRead } from './ioctl.ts';
import {
  KVM_CREATE_IRQCHIP,
  KVM_CREATE_PIT2,
  KVM_CREATE_VCPU,
  KVM_GET_CLOCK,
  KVM_IOEVENTFD,
  KVM_IRQ_LINE,
  KVM_IRQFD,
  KVM_SET_CLOCK,
  KVM_SET_GSI_ROUTING,
  KVM_SET_IDENTITY_MAP_ADDR,
  KVM_SET_TSS_ADDR,
  KVM_SET_USER_MEMORY_REGION,
} from './ioctls.ts';
import { encodeList, type Input } from './layout.ts';
import {
  kvm_clock_data,
  kvm_ioeventfd,
  kvm_irq_level,
  kvm_irq_routing,
  kvm_irq_routing_entry,
  kvm_irqfd,
  kvm_pit_config,
  kvm_userspace_memory_region,
} from './structs.ts';

/** The PIT answers the speaker port (0x61) too: guests calibrate their TSC with it. */
const KVM_PIT_SPEAKER_DUMMY = 1;

const addressBytes = new Uint8Array(8);

/** A virtual machine of KVM: its descriptor, and one method for each ioctl that mvm uses. */
export class Vm {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Pages that Intel's KVM needs for guests in real mode; other KVMs do not look at them. */
  reserveIntelPages(): void {
    new DataView(addressBytes.buffer).setBigUint64(0, BigInt(KVM_IDENTITY_MAP_ADDRESS), true);
    ioctlBytes(this.fd, KVM_SET_IDENTITY_MAP_ADDR, addressBytes, 'place the identity map');
    ioctl(this.fd, KVM_SET_TSS_ADDR, KVM_TSS_ADDRESS, 'place the TSS');
  }

  /** PIC, IOAPIC and a local APIC for each vCPU, in the kernel. */
  createIrqchip(): void {
    ioctl(this.fd, KVM_CREATE_IRQCHIP, 0, 'create the interrupt controllers');
  }

  /** The i8254 timer, in the kernel. */
  createPit2(): void {
    const config = kvm_pit_config.encode({ flags: KVM_PIT_SPEAKER_DUMMY });
    ioctlBytes(this.fd, KVM_CREATE_PIT2, config, 'create the interval timer');
  }

  /** Gives the guest a region of RAM. @param hostAddress of its first byte */
  setMemoryRegion(slot: number, region: MemoryRegion, hostAddress: number, flags = 0): void {
    const argument = kvm_userspace_memory_region.encode({
      slot,
      flags,
      guest_phys_addr: region.guestAddress,
      memory_size: region.size,
      userspace_addr: hostAddress,
    });
    ioctlBytes(this.fd, KVM_SET_USER_MEMORY_REGION, argument, 'give the guest its memory');
  }

  /** @returns the vCPU's descriptor */
  createVcpu(id: number): number {
    return ioctl(this.fd, KVM_CREATE_VCPU, id, `create vCPU ${id}`);
  }

  /** Guest writes that match become writes to an eventfd. */
  ioeventfd(argument: Input<typeof kvm_ioeventfd>): void {
    ioctlBytes(this.fd, KVM_IOEVENTFD, kvm_ioeventfd.encode(argument), 'turn a guest write into an event');
  }

  /** Writes to an eventfd become an interrupt. */
  irqfd(argument: Input<typeof kvm_irqfd>): void {
    ioctlBytes(this.fd, KVM_IRQFD, kvm_irqfd.encode(argument), 'turn an event into an interrupt');
  }

  /** Sets a GSI's level. */
  irqLine(irq: number, level: boolean): void {
    const argument = kvm_irq_level.encode({ irq, level: Number(level) });
    ioctlBytes(this.fd, KVM_IRQ_LINE, argument, `set the level of interrupt ${irq}`);
  }

  /** Replaces the whole routing table. */
  setGsiRouting(entries: readonly Input<typeof kvm_irq_routing_entry>[]): void {
    const argument = encodeList(kvm_irq_routing, 'entries', { nr: entries.length }, kvm_irq_routing_entry, entries);
    ioctlBytes(this.fd, KVM_SET_GSI_ROUTING, argument, 'route interrupts');
  }

  /** kvm-clock's value, in nanoseconds. */
  getClock(): bigint {
    return kvm_clock_data.decode(ioctlRead(this.fd, KVM_GET_CLOCK, kvm_clock_data.size, 'read the guest clock')).clock;
  }

  setClock(clock: bigint): void {
    ioctlBytes(this.fd, KVM_SET_CLOCK, kvm_clock_data.encode({ clock }), 'set the guest clock');
  }

  close(): void {
    tryCall('close', this.fd);
  }
}
