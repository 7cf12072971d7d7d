import type { ExecutionContext } from 'ava';
import { completeInstruction } from '../../../lib/emulate/complete.ts';
import { ARITHMETIC_FLAGS, Flag, Register } from '../../../lib/emulate/registers.ts';
import { IA32_XSS, SegmentRegister } from '../../../lib/emulate/types.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import {
  CODE,
  DATA,
  DATA_SIZE,
  type InstructionCase,
  type NativeAbout,
  type NativeResult,
  READ_ONLY,
  runNatively,
} from './native.ts';
import { PageTables, PTE_P, PTE_RW, PTE_US } from './page-tables.ts';
import { segment, TestCpu, xsaveLayoutOf } from './test-cpu.ts';

/** Guest-physical: where the pages of native.c are in the emulated guest. */
const PHYSICAL_DATA = 0x4_0000;
const PHYSICAL_READ_ONLY = 0x4_8000;
const PHYSICAL_IDT = 0x5_0000;
const PHYSICAL_GDT = 0x5_2000;
const PAGE_TABLES = 0x1000;
const MEMORY_SIZE = 0x10_0000;
/** Supervisor pages for the tables that the processor reads itself. */
const IDT = 0xffff_8000_0000_0000n;
const GDT = 0xffff_8000_0000_2000n;
/** Gates that Linux lets user mode call: #BP, #OF and the 32-bit system call. */
const USER_GATES = [3, 4, 0x80];
/** Linux's GDT, arch/x86/kernel/cpu/common.c (gdt_page), without what differs from one processor to the next. */
const LINUX_GDT = [
  0n,
  0x00cf_9b00_0000_ffffn,
  0x00af_9b00_0000_ffffn,
  0x00cf_9300_0000_ffffn,
  0x00cf_fb00_0000_ffffn,
  0x00cf_f300_0000_ffffn,
  0x00af_fb00_0000_ffffn,
];

const ALL_COMPARED = ARITHMETIC_FLAGS | Flag.DF | Flag.AC | Flag.RF;

export interface CompareOptions {
  /** Flags that the instruction leaves undefined. */
  readonly undefinedFlags?: number;
  /** Bytes of the XSAVE area that are compared: [start, end) pairs. */
  readonly fpu?: readonly (readonly [number, number])[];
  /** Compare only the page in CR2: processors differ in which byte of a large operand they touch first. */
  readonly cr2Page?: boolean;
  /** Called before the first case. */
  readonly prepare?: (cpu: TestCpu) => void;
  /** Called for each case with both sides, after what is the same for all instructions was compared. */
  readonly also?: (t: ExecutionContext, one: InstructionCase, native: NativeResult, cpu: TestCpu) => void;
}

/**
 * Runs each case on this computer's processor and through `completeInstruction`, and compares: vector, error code and CR2, all
 * registers, RIP, flags, memory.
 */
export function compareWithProcessor(
  t: ExecutionContext,
  cases: readonly InstructionCase[],
  options: CompareOptions = {},
): void {
  const { about, results } = runNatively(cases);
  const stage = new Stage(about);
  options.prepare?.(stage.cpu);
  const flagMask = ALL_COMPARED & ~(options.undefinedFlags ?? 0);
  for (const [i, one] of cases.entries()) {
    const native = results[i]!;
    const emulated = stage.run(one);
    const flags = native.vector === 1 ? flagMask : ALL_COMPARED;
    const cr2Bits = options.cr2Page ? 12n : 0n;
    const expected = normalize(native, flags, cr2Bits);
    const actual = normalize(emulated, flags, cr2Bits);
    if (JSON.stringify(expected) !== JSON.stringify(actual)) {
      t.deepEqual(actual, expected, `${describe(one)}: ${emulated.note}`);
    }
    compareBytes(t, emulated.memory, native.memory, `${describe(one)}: memory`);
    for (const [start, end] of options.fpu ?? []) {
      const what = `${describe(one)}: XSAVE area from ${start}`;
      compareBytes(t, stage.cpu.image.subarray(start, end), native.fpu.subarray(start, end), what);
    }
    options.also?.(t, one, native, stage.cpu);
  }
  t.pass();
}

/** Compares bytes; a failure shows the 16 around the first difference. */
function compareBytes(t: ExecutionContext, actual: Uint8Array, expected: Uint8Array, what: string): void {
  const at = expected.findIndex((byte, i) => byte !== actual[i]);
  if (at < 0) return;
  const show = (bytes: Uint8Array) => Buffer.from(bytes.subarray(at & ~15, (at & ~15) + 16)).toString('hex');
  t.is(show(actual), show(expected), `${what}, byte ${at}`);
}

/** One emulated vCPU with the memory of native.c, for any number of cases. */
export class Stage {
  readonly cpu: TestCpu;
  readonly #code: number;

  constructor(about: NativeAbout) {
    const memory = GuestMemory.plain(MEMORY_SIZE);
    const tables = new PageTables(memory, PAGE_TABLES);
    const user = PTE_P | PTE_US;
    for (let at = 0; at < DATA_SIZE; at += 0x1000) tables.map(BigInt(DATA + at), PHYSICAL_DATA + at, user | PTE_RW);
    tables.map(BigInt(READ_ONLY), PHYSICAL_READ_ONLY, user);
    tables.map(IDT, PHYSICAL_IDT, PTE_P);
    tables.map(GDT, PHYSICAL_GDT, PTE_P);
    const cpu = new TestCpu(memory);
    cpu.cr3 = tables.root;
    cpu.cpl = 3;
    cpu.idt = { base: IDT, limit: 0xfff };
    cpu.gdt = { base: GDT, limit: LINUX_GDT.length * 8 - 1 };
    for (let vector = 0; vector < 256; vector++) {
      const dpl = USER_GATES.includes(vector) ? 0xee00 : 0x8e00;
      memory.view.setUint32(PHYSICAL_IDT + vector * 16 + 4, dpl, true);
    }
    for (const [i, entry] of LINUX_GDT.entries()) memory.view.setBigUint64(PHYSICAL_GDT + i * 8, entry, true);
    cpu.xsaveLayout = xsaveLayoutOf(about);
    cpu.xcr0 = about.xcr0;
    cpu.msrs.set(IA32_XSS, 0n);
    this.cpu = cpu;
    this.#code = CODE;
  }

  run(one: InstructionCase): NativeResult & { note: string } {
    const { cpu } = this;
    const { registers } = cpu;
    for (const [number, value] of one.gpr.entries()) registers.set64(number, value);
    registers.rip = BigInt(this.#code);
    registers.quads[Register.rflags] = BigInt(one.rflags);
    cpu.segments[SegmentRegister.cs] = one.compat
      ? segment({ selector: 0x23, type: 11 })
      : segment({ selector: 0x33, type: 11, db: 0, l: 1 });
    cpu.segments[SegmentRegister.fs] = segment({ base: one.fsBase });
    cpu.segments[SegmentRegister.gs] = segment({ base: one.gsBase });
    const at = this.#physical(one.memoryAddress);
    cpu.memory.bytes.set(one.memory, at);
    if (one.fpu.length > 0) cpu.image.set(one.fpu);
    const outcome = completeInstruction(one.code, cpu);
    const result = {
      vector: 1,
      errorCode: 0,
      cr2: 0n,
      gpr: Array.from({ length: 16 }, (_, number) => registers.get64(number)),
      ripAdvance: Number(registers.rip - BigInt(this.#code)),
      rflags: registers.flags,
      memory: new Uint8Array(cpu.memory.bytes.subarray(at, at + one.memory.length)),
      fpu: cpu.image,
      note: '',
    };
    switch (outcome.kind) {
      case 'completed':
        return result;
      case 'exception':
        return { ...result, vector: outcome.vector, errorCode: outcome.errorCode ?? 0, cr2: outcome.cr2 ?? 0n };
      case 'interrupt':
        return { ...result, vector: outcome.vector };
      case 'unknown':
        return { ...result, vector: -1, note: outcome.message };
    }
  }

  #physical(linear: number): number {
    return linear >= READ_ONLY ? PHYSICAL_READ_ONLY + (linear - READ_ONLY) : PHYSICAL_DATA + (linear - DATA);
  }
}

/** What is compared, readable in a failure. */
function normalize(result: NativeResult, flagMask: number, cr2Shift: bigint): Record<string, unknown> {
  const isPageFault = result.vector === 14;
  return {
    vector: result.vector,
    // Linux keeps the last page fault's error code and CR2 around; they mean something only for their vector.
    errorCode: result.vector === 1 ? 0 : result.errorCode,
    cr2: isPageFault ? (result.cr2 >> cr2Shift).toString(16) : '',
    ripAdvance: result.ripAdvance,
    rflags: (result.rflags & flagMask).toString(16),
    gpr: result.gpr.map((value) => value.toString(16)),
  };
}

export function describe(one: InstructionCase): string {
  const code = Buffer.from(one.code).toString('hex');
  return `${one.compat ? '32-bit ' : ''}${code} at memory 0x${one.memoryAddress.toString(16)}`;
}
