import type { GuestMemory } from '../memory/guest-memory.ts';
import type { PageWalk, PagingState } from '../memory/page-walk.ts';
import type { RegisterFile } from './registers.ts';

/** A segment register with its hidden part, as in `struct kvm_segment`: `limit` is in bytes, flags are 0 or 1. */
export interface Segment {
  readonly base: bigint;
  readonly limit: number;
  readonly selector: number;
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  readonly db: number;
  readonly s: number;
  readonly l: number;
  readonly unusable: number;
}

/** GDTR or IDTR. */
export interface DescriptorTable {
  readonly base: bigint;
  readonly limit: number;
}

/** Numbers of the segment registers in instructions. */
export const SegmentRegister = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const;

/** x87, SSE and all other XSAVE-managed state of one vCPU. */
export interface ExtendedState {
  /**
   * The state as `KVM_GET_XSAVE` gives it: an XSAVE area in its standard format (Intel SDM vol. 1, §13.4), with the 64-bit
   * layout of the legacy region. `XSTATE_BV` in its header says which components are not in their initial configuration.
   */
  readonly image: Uint8Array;
  readonly view: DataView;
}

/** One state component, from `CPUID.0DH:i`. Units: bytes. */
export interface XsaveComponent {
  /** In the standard format. */
  readonly offset: number;
  readonly size: number;
  /** In the compacted format it begins at a multiple of 64. */
  readonly aligned: boolean;
}

/** What `CPUID.0DH` says of the guest's XSAVE; components 0 (x87) and 1 (SSE) are in the legacy region and not listed. */
export interface XsaveLayout {
  /** The bits that XCR0 may have: components 0 to 31. */
  readonly supported: number;
  /** Indexed by the component's number. */
  readonly components: readonly (XsaveComponent | undefined)[];
}

/** The model-specific registers that instructions here read. */
export const IA32_TSC_AUX = 0xc000_0103;
export const IA32_XSS = 0xda0;

/**
 * One vCPU that stands still at an instruction, as far as instructions read and change it. Cheap members are plain; what costs
 * a system call is a method, called at most where the instruction needs it.
 *
 * The instruction's effects are written straight to `registers`, to guest memory and to `extendedState().image`; `Outcome`
 * says which of them changed, so that they can be handed to KVM.
 */
export interface CpuContext extends PagingState {
  readonly registers: RegisterFile;
  readonly memory: GuestMemory;
  /** Over `memory`. */
  readonly pageWalk: PageWalk;
  /** Current privilege level: `SS.DPL`, 0 in real mode. */
  readonly cpl: number;
  /** @param register one of `SegmentRegister` */
  segment(register: number): Segment;
  readonly gdt: DescriptorTable;
  readonly idt: DescriptorTable;
  readonly ldt: Segment;
  readonly xsaveLayout: XsaveLayout;
  /** The same object until the vCPU runs again. */
  extendedState(): ExtendedState;
  readXcr0(): number;
  writeXcr0(value: number): void;
  /** The guest's time stamp counter, now. */
  readTsc(): bigint;
  /** @param index `IA32_TSC_AUX` or `IA32_XSS` */
  readMsr(index: number): bigint;
  /**
   * Compares 16 bytes at `offset` of `memory.buffer` (a multiple of 16) with `expected`, and replaces them where they are
   * equal; else puts what was found into `expected`. Low half first. `lock` asks that no other vCPU sees it half done.
   * @returns whether they were equal
   */
  compareExchange16(offset: number, expected: BigUint64Array, replacement: BigUint64Array, lock: boolean): boolean;
}

/** Groups of state that an instruction changed; `Outcome.dirty` or-s them together. */
export const Dirty = {
  /** `registers`: always, for a completed instruction (RIP). */
  Registers: 1 << 0,
  /** `extendedState().image`. */
  ExtendedState: 1 << 1,
} as const;

/** The instruction is done, and RIP is behind it. */
export interface Completed {
  readonly kind: 'completed';
  readonly dirty: number;
  /**
   * Cached translations must go, as after `invpcid`. A KVM that shadows the guest's page tables looks at them again when CR3
   * is written with another value: set a different CR3 through `KVM_SET_SREGS`, then the true one. (KVM-PVM, which emulates
   * every write of a guest kernel to its page tables, was seen to show them at once even without.)
   */
  readonly flushTlb: boolean;
}

/** An exception is to be delivered through the IDT; `registers` already hold what its frame must show. */
export interface Exception {
  readonly kind: 'exception';
  readonly dirty: number;
  readonly vector: number;
  /** To be pushed; absent for vectors that push none. */
  readonly errorCode: number | undefined;
  /** To be put into CR2 first (page faults). */
  readonly cr2: bigint | undefined;
  /** To be or-ed into DR6 first (debug exceptions). */
  readonly dr6: number;
}

/** A software interrupt (`int n`) is to be delivered through the IDT: no error code, RIP is behind the instruction. */
interface SoftwareInterrupt {
  readonly kind: 'interrupt';
  readonly dirty: number;
  readonly vector: number;
}

/** mvm cannot do it either. Nothing was changed. */
export interface Unknown {
  readonly kind: 'unknown';
  /** One line for the user: the bytes, the address, why, and the registers. */
  readonly message: string;
}

export type Outcome = Completed | Exception | SoftwareInterrupt | Unknown;
