import type { GuestMemory } from '../memory/guest-memory.ts';

/** A segment register with its hidden part; the names and units are those of `struct kvm_segment`. */
export interface SegmentState {
  readonly base: number;
  /** In bytes, already scaled by `g`. */
  readonly limit: number;
  readonly selector: number;
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  readonly db: number;
  readonly s: number;
  readonly l: number;
  readonly g: number;
  readonly avl: number;
  readonly unusable: number;
}

/** GDTR or IDTR; `limit` is the offset of the last byte. */
export interface TableState {
  readonly base: number;
  readonly limit: number;
}

/**
 * The registers of the boot vCPU at its first instruction, by the names of `struct kvm_sregs` and `struct kvm_regs`. What is not
 * here stays as KVM resets it (general registers: 0). Other vCPUs wait for the guest's INIT and SIPI.
 */
export interface InitialCpuState {
  readonly cs: SegmentState;
  readonly ds: SegmentState;
  readonly es: SegmentState;
  readonly fs: SegmentState;
  readonly gs: SegmentState;
  readonly ss: SegmentState;
  readonly tr: SegmentState;
  readonly ldt: SegmentState;
  readonly gdt: TableState;
  readonly idt: TableState;
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  readonly rip: number;
  readonly rsp: number;
  readonly rbp: number;
  readonly rsi: number;
  readonly rbx: number;
  readonly rflags: number;
}

/** CR0 (Intel SDM vol. 3A §2.5). */
const CR0_PE = 1;
/** Fixed to 1 since the Pentium. */
const CR0_ET = 1 << 4;
const CR0_PG = 2 ** 31;
const CR4_PAE = 1 << 5;
/** IA32_EFER (vol. 3A §2.2.1). */
const EFER_LME = 1 << 8;
const EFER_LMA = 1 << 10;
/** RFLAGS bit 1 is always 1; interrupts are off. */
const RFLAGS_RESERVED = 1 << 1;

/** Segment types (vol. 3A §3.4.5.1 and §3.5), accessed and busy as KVM wants them. */
const TYPE_CODE_READ = 0xb;
const TYPE_DATA_WRITE = 0x3;
const TYPE_TSS_BUSY = 0xb;
const TYPE_LDT = 0x2;

/** Linux: arch/x86/include/asm/segment.h; the boot protocol names them. */
export const BOOT_CS = 0x10;
export const BOOT_DS = 0x18;
const BOOT_TSS = 0x20;

const FLAT_LIMIT = 0xffff_ffff;
/** Of a TSS: §8.7 for 64 bits, §8.2 for 32; both are 104 bytes. */
const TSS_LIMIT = 0x67;

const CODE_64: SegmentState = {
  base: 0,
  limit: FLAT_LIMIT,
  selector: BOOT_CS,
  type: TYPE_CODE_READ,
  present: 1,
  dpl: 0,
  db: 0,
  s: 1,
  l: 1,
  g: 1,
  avl: 0,
  unusable: 0,
};
const CODE_32: SegmentState = { ...CODE_64, db: 1, l: 0 };
const DATA: SegmentState = { ...CODE_64, selector: BOOT_DS, type: TYPE_DATA_WRITE, db: 1, l: 0 };
const TSS: SegmentState = {
  ...CODE_64,
  limit: TSS_LIMIT,
  selector: BOOT_TSS,
  type: TYPE_TSS_BUSY,
  s: 0,
  l: 0,
  g: 0,
};
const LDT_UNUSABLE: SegmentState = { ...TSS, limit: 0, selector: 0, type: TYPE_LDT, present: 0, unusable: 1 };

/** Two null entries, code, data, and a TSS, which takes two entries' place in 64-bit mode. */
const GDT_ENTRIES = 6;
export const GDT_SIZE = GDT_ENTRIES * 8;

/** No IDT: an exception before the kernel has one is a triple fault. */
const NO_IDT: TableState = { base: 0, limit: 0 };

/** The two words of a segment descriptor (Intel SDM vol. 3A §3.4.5, figure 3-8). */
export function descriptorWords(segment: SegmentState): readonly [low: number, high: number] {
  const { base, type, s, dpl, present, avl, l, db, g } = segment;
  const limit = g === 1 ? Math.floor(segment.limit / 4096) : segment.limit;
  const low = ((base & 0xffff) * 0x1_0000 + (limit & 0xffff)) >>> 0;
  const access = type | (s << 4) | (dpl << 5) | (present << 7);
  const flags = avl | (l << 1) | (db << 2) | (g << 3);
  const high =
    ((base & 0xff00_0000) | (flags << 20) | (limit & 0xf_0000) | (access << 8) | ((base >>> 16) & 0xff)) >>> 0;
  return [low, high];
}

/** Writes the GDT that the segment registers were loaded from: a kernel may load them again before it has its own. */
function writeGdt(memory: GuestMemory, address: number, code: SegmentState): void {
  const offset = memory.offsetOf(address, GDT_SIZE);
  memory.bytes.fill(0, offset, offset + GDT_SIZE);
  for (const segment of [code, DATA, TSS]) {
    const [low, high] = descriptorWords(segment);
    memory.view.setUint32(offset + segment.selector, low, true);
    memory.view.setUint32(offset + segment.selector + 4, high, true);
  }
}

/**
 * Linux's 64-bit boot protocol (boot.rst, "64-bit Boot Protocol"): long mode, paging on, interrupts off, flat segments, RSI at the zero
 * page. Writes the GDT.
 *
 * @param gdt where the GDT goes
 * @param pageTables CR3: what `writePageTables` wrote
 */
export function linux64State(
  memory: GuestMemory,
  gdt: number,
  pageTables: number,
  entry: number,
  zeroPage: number,
  stackTop: number,
): InitialCpuState {
  writeGdt(memory, gdt, CODE_64);
  return {
    ...common(CODE_64, gdt),
    cr0: CR0_PE + CR0_ET + CR0_PG,
    cr3: pageTables,
    cr4: CR4_PAE,
    efer: EFER_LME | EFER_LMA,
    rip: entry,
    rsp: stackTop,
    rbp: stackTop,
    rsi: zeroPage,
    rbx: 0,
  };
}

/**
 * PVH (Xen: docs/misc/pvh.pandoc): 32-bit protected mode without paging, flat segments, EBX at the start info. Writes the GDT.
 *
 * @param gdt where the GDT goes
 */
export function pvhState(memory: GuestMemory, gdt: number, entry: number, startInfo: number): InitialCpuState {
  writeGdt(memory, gdt, CODE_32);
  return {
    ...common(CODE_32, gdt),
    cr0: CR0_PE + CR0_ET,
    cr3: 0,
    cr4: 0,
    efer: 0,
    rip: entry,
    rsp: 0,
    rbp: 0,
    rsi: 0,
    rbx: startInfo,
  };
}

function common(code: SegmentState, gdt: number) {
  return {
    cs: code,
    ds: DATA,
    es: DATA,
    fs: DATA,
    gs: DATA,
    ss: DATA,
    tr: TSS,
    ldt: LDT_UNUSABLE,
    gdt: { base: gdt, limit: GDT_SIZE - 1 },
    idt: NO_IDT,
    rflags: RFLAGS_RESERVED,
  };
}
