import type { RegisterFile } from '../emulate/registers.ts';
import type {
  CpuContext,
  DescriptorTable,
  ExtendedState,
  Segment,
  SegmentRegister,
  XsaveLayout,
} from '../emulate/types.ts';
import { viewOf } from '../kvm/layout.ts';
import { kvm_dtable, kvm_segment, kvm_sregs } from '../kvm/structs.ts';
import type { KvmVcpu } from '../kvm/vcpu.ts';
import type { NativeArena } from '../loop/arena.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { PageWalk } from '../memory/page-walk.ts';

const IA32_TIME_STAMP_COUNTER = 0x10;
/** By `SegmentRegister`. */
const SEGMENT_FIELDS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;

/** What the guest's CPUID says of its processor, as far as instruction completion needs it. */
export interface CpuFacts {
  /** MAXPHYADDR: `CPUID.80000008H:EAX[7:0]`. */
  readonly physicalAddressBits: number;
  readonly xsaveLayout: XsaveLayout;
}

/** A vCPU of KVM that stands still at an instruction, as the instructions of lib/emulate see it. */
export class KvmCpuContext implements CpuContext {
  readonly registers: RegisterFile;
  readonly memory: GuestMemory;
  readonly pageWalk: PageWalk;
  readonly physicalAddressBits: number;
  readonly xsaveLayout: XsaveLayout;
  readonly #vcpu: KvmVcpu;
  readonly #host: HostMemory;
  readonly #arena: NativeArena;
  /** `struct kvm_sregs`, read once an instruction. */
  readonly #sregs = new Uint8Array(kvm_sregs.size);
  readonly #view = viewOf(this.#sregs);
  #extended: ExtendedState | undefined;
  readonly #expected: [bigint, bigint] = [0n, 0n];
  readonly #replacement: [bigint, bigint] = [0n, 0n];
  readonly #found: [bigint, bigint] = [0n, 0n];

  /** @param registers over the registers that KVM shares in `kvm_run` */
  constructor(vcpu: KvmVcpu, registers: RegisterFile, host: HostMemory, arena: NativeArena, facts: CpuFacts) {
    this.registers = registers;
    this.memory = host.guest;
    this.pageWalk = new PageWalk(host.guest);
    this.physicalAddressBits = facts.physicalAddressBits;
    this.xsaveLayout = facts.xsaveLayout;
    this.#vcpu = vcpu;
    this.#host = host;
    this.#arena = arena;
  }

  /** Reads the vCPU's state; call it when the vCPU has left KVM_RUN. */
  refresh(): void {
    this.#vcpu.readSregs(this.#sregs);
    this.#extended = undefined;
  }

  get cr0(): number {
    return this.#view.getUint32(kvm_sregs.offset.cr0, true);
  }

  get cr3(): number {
    const offset = kvm_sregs.offset.cr3;
    return this.#view.getUint32(offset + 4, true) * 0x1_0000_0000 + this.#view.getUint32(offset, true);
  }

  get cr4(): number {
    return this.#view.getUint32(kvm_sregs.offset.cr4, true);
  }

  get efer(): number {
    return this.#view.getUint32(kvm_sregs.offset.efer, true);
  }

  /** Protection keys are not offered to guests: CR4.PKE stays 0. */
  get pkru(): number {
    return 0;
  }

  get cpl(): number {
    return this.#view.getUint8(kvm_sregs.offset['ss.dpl']);
  }

  segment(register: (typeof SegmentRegister)[keyof typeof SegmentRegister]): Segment {
    return kvm_segment.read(this.#view, kvm_sregs.offset[SEGMENT_FIELDS[register]!]);
  }

  get gdt(): DescriptorTable {
    return kvm_dtable.read(this.#view, kvm_sregs.offset.gdt);
  }

  get idt(): DescriptorTable {
    return kvm_dtable.read(this.#view, kvm_sregs.offset.idt);
  }

  get ldt(): Segment {
    return kvm_segment.read(this.#view, kvm_sregs.offset.ldt);
  }

  extendedState(): ExtendedState {
    if (this.#extended === undefined) {
      const image = this.#vcpu.getXsave();
      this.#extended = { image, view: viewOf(image) };
    }
    return this.#extended;
  }

  readXcr0(): number {
    return Number(this.#vcpu.getXcr0());
  }

  writeXcr0(value: number): void {
    this.#vcpu.setXcr0(BigInt(value));
  }

  readTsc(): bigint {
    return this.#vcpu.getMsr(IA32_TIME_STAMP_COUNTER);
  }

  readMsr(index: number): bigint {
    return this.#vcpu.getMsr(index);
  }

  compareExchange16(offset: number, expected: BigUint64Array, replacement: BigUint64Array): boolean {
    // A locked exchange serves the unlocked form too: nobody can tell.
    this.#expected[0] = expected[0]!;
    this.#expected[1] = expected[1]!;
    this.#replacement[0] = replacement[0]!;
    this.#replacement[1] = replacement[1]!;
    const address = this.#host.addressOf(offset);
    const equal = this.#arena.compareExchange16(address, this.#expected, this.#replacement, this.#found);
    if (!equal) {
      expected[0] = this.#found[0];
      expected[1] = this.#found[1];
    }
    return equal;
  }

  /** Hands the extended state, where an instruction changed it, to KVM. */
  writeExtendedState(): void {
    if (this.#extended !== undefined) this.#vcpu.setXsave(this.#extended.image);
  }

  /** Sets CR2, as a page fault does. */
  setCr2(value: bigint): void {
    this.#view.setBigUint64(kvm_sregs.offset.cr2, value, true);
    this.#vcpu.writeSregs(this.#sregs);
  }

  /** Makes KVM forget the translations that it has cached: it looks at the page tables again when CR3 changes. */
  flushTranslations(): void {
    const cr3 = this.#view.getBigUint64(kvm_sregs.offset.cr3, true);
    this.#view.setBigUint64(kvm_sregs.offset.cr3, cr3 ^ 0x1000n, true);
    this.#vcpu.writeSregs(this.#sregs);
    this.#view.setBigUint64(kvm_sregs.offset.cr3, cr3, true);
    this.#vcpu.writeSregs(this.#sregs);
  }
}
