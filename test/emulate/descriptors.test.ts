import test from 'ava';
import { completeInstruction } from '../../lib/emulate/complete.ts';
import { Flag } from '../../lib/emulate/registers.ts';
import { SegmentRegister } from '../../lib/emulate/types.ts';
import { compareWithProcessor, Stage } from './support/compare.ts';
import { instructionCase } from './support/encode.ts';
import { generalCases } from './support/general.ts';
import { aboutProcessor, type InstructionCase } from './support/native.ts';
import { Random } from './support/random.ts';
import { segment, type TestCpu } from './support/test-cpu.ts';

/** Selectors of Linux's GDT that are the same on every computer: null, kernel, user, and beyond its end; and an LDT that is not there. */
const SELECTORS = [
  0, 3, 8, 0xb, 0x10, 0x13, 0x18, 0x1b, 0x20, 0x23, 0x28, 0x29, 0x2b, 0x30, 0x32, 0x33, 0x88, 0xfffb, 7, 0xf,
];

const about = aboutProcessor();
const VERR = [0x0f, 0x00, 0xe0];
const VERW = [0x0f, 0x00, 0xe8];
/** eax, ecx. */
const LAR = [0x0f, 0x02, 0xc1];
const LSL = [0x0f, 0x03, 0xc1];
const ACCESSED = 1n << 40n;

function withSelectors(code: readonly number[]): InstructionCase[] {
  const random = new Random(code[1]! * 256 + code[2]!);
  return SELECTORS.map((selector) => {
    const gpr = Array.from({ length: 16 }, () => random.operand());
    const value = (random.uniform64() & ~0xffffn) | BigInt(selector);
    gpr[code[1] === 0 ? 0 : 1] = value;
    return instructionCase({ code: Uint8Array.from(code), gpr, rflags: 0x202 | (random.below(0x1000) & 0x8d5) });
  });
}

test('verr and verw on the selectors of this system', (t) => {
  compareWithProcessor(t, [...withSelectors(VERR), ...withSelectors(VERW)]);
});

test('lar and lsl, of every width', (t) => {
  for (const code of [LAR, LSL]) {
    for (const prefix of [[], [0x66], [0x48]])
      compareWithProcessor(
        t,
        withSelectors(code).map((one) => prefixed(one, prefix)),
      );
  }
});

test('verw of memory', (t) => {
  const encoding = { opcode: [0x0f, 0x00] };
  const adjust = (random: Random, { memory }: { memory: Uint8Array }) => {
    new DataView(memory.buffer).setUint16(0, random.pick(SELECTORS), true);
  };
  compareWithProcessor(t, generalCases(encoding, { seed: 1, memorySize: 2, forms: 'memory', extension: 5, adjust }));
});

function prefixed(one: InstructionCase, prefix: readonly number[]): InstructionCase {
  return { ...one, code: Uint8Array.from([...prefix, ...one.code]) };
}

const GDT = 0x6_0000;

/** A kernel without paging, whose GDT entry 1 is the descriptor. */
function cpuWith(descriptor: bigint, long = false): TestCpu {
  const { cpu } = new Stage(about);
  cpu.cpl = 0;
  cpu.cr0 = 0x11;
  if (!long) {
    cpu.efer = 0;
    cpu.segments[SegmentRegister.cs] = segment({ type: 11, dpl: 0 });
  }
  cpu.gdt = { base: BigInt(GDT), limit: 15 };
  cpu.memory.view.setBigUint64(GDT + 8, descriptor, true);
  cpu.registers.set64(0, 0xffff_ffff_ffff_0008n);
  cpu.registers.set64(1, 0xffff_ffff_ffff_0008n);
  return cpu;
}

/** ZF after an instruction. */
function accepted(cpu: TestCpu, code: readonly number[]): boolean {
  const outcome = completeInstruction(Uint8Array.from(code), cpu);
  if (outcome.kind !== 'completed') throw new Error(outcome.kind);
  return (cpu.registers.flags & Flag.ZF) !== 0;
}

/** A present descriptor: type with S (0 to 31), DPL, and a limit with G. */
function descriptor(type: number, dpl = 0, flags = 0xc): bigint {
  const high = (type << 8) | (dpl << 13) | 0x8000 | (flags << 20) | 0x5_0000;
  return (BigInt(high >>> 0) << 32n) | 0x1234n;
}

test('types that can be read, written, and looked up', (t) => {
  const readable: number[] = [];
  const writable: number[] = [];
  const rights: number[] = [];
  const limits: number[] = [];
  const rightsLong: number[] = [];
  const limitsLong: number[] = [];
  for (let type = 0; type < 32; type++) {
    if (accepted(cpuWith(descriptor(type)), VERR)) readable.push(type);
    if (accepted(cpuWith(descriptor(type)), VERW)) writable.push(type);
    if (accepted(cpuWith(descriptor(type)), LAR)) rights.push(type);
    if (accepted(cpuWith(descriptor(type)), LSL)) limits.push(type);
    if (accepted(cpuWith(descriptor(type), true), LAR)) rightsLong.push(type);
    if (accepted(cpuWith(descriptor(type), true), LSL)) limitsLong.push(type);
  }
  const segments = Array.from({ length: 16 }, (_, i) => 16 + i);
  // Intel SDM vol. 3, table 3-1, and vol. 2, LAR and LSL.
  t.deepEqual(readable, [16, 17, 18, 19, 20, 21, 22, 23, 26, 27, 30, 31]);
  t.deepEqual(writable, [18, 19, 22, 23]);
  t.deepEqual(rights, [1, 2, 3, 4, 5, 9, 11, 12, ...segments]);
  t.deepEqual(limits, [1, 2, 3, 9, 11, ...segments]);
  t.deepEqual(rightsLong, [2, 9, 11, 12, ...segments]);
  t.deepEqual(limitsLong, [2, 9, 11, ...segments]);
});

test('CPL and RPL must reach the DPL, except for conforming code', (t) => {
  for (const [type, dpl, cpl, rpl, expected] of [
    [18, 0, 0, 0, true],
    [18, 0, 0, 1, false],
    [18, 2, 3, 0, false],
    [18, 3, 3, 3, true],
    [26, 0, 3, 3, false],
    [30, 0, 3, 3, true],
  ] as const) {
    const cpu = cpuWith(descriptor(type, dpl));
    cpu.cpl = cpl;
    cpu.registers.set64(0, BigInt(8 | rpl));
    cpu.registers.set64(1, BigInt(8 | rpl));
    t.is(accepted(cpu, VERR), expected);
    t.is(accepted(cpu, LAR), expected);
  }
});

test('what lar and lsl give', (t) => {
  const cpu = cpuWith(descriptor(18, 0) | ACCESSED);
  accepted(cpu, LAR);
  t.is(cpu.registers.get64(0), 0x00c5_9300n);
  accepted(cpu, LSL);
  t.is(cpu.registers.get64(0), 0x5123_4fffn);
  const bytes = cpuWith(descriptor(18, 0, 4));
  accepted(bytes, LSL);
  t.is(bytes.registers.get64(0), 0x5_1234n);
  accepted(bytes, [0x66, ...LSL]);
  t.is(bytes.registers.get64(0), 0x5_1234n, 'bits 31:16 stay');
  accepted(bytes, [0x66, ...LAR]);
  t.is(bytes.registers.get64(0), 0x5_9200n);
});

test('the table ends where its limit says, and the local table counts only where it is there', (t) => {
  const cpu = cpuWith(descriptor(18));
  cpu.gdt = { base: BigInt(GDT), limit: 14 };
  t.false(accepted(cpu, VERR));
  cpu.registers.set64(0, 0xcn);
  t.false(accepted(cpu, VERR));
  cpu.ldt = segment({ base: BigInt(GDT), limit: 15 });
  t.true(accepted(cpu, VERR));
  cpu.ldt = segment({ base: BigInt(GDT), limit: 14 });
  t.false(accepted(cpu, VERR));
});

test('a table that is not mapped is a page fault of the supervisor', (t) => {
  const { cpu } = new Stage(about);
  cpu.gdt = { base: 0xffff_9000_0000_0000n, limit: 0xff };
  cpu.registers.set64(0, 8n);
  t.like(completeInstruction(Uint8Array.from(VERR), cpu), {
    kind: 'exception',
    vector: 14,
    errorCode: 0,
    cr2: 0xffff_9000_0000_0008n,
  });
});

test('in real mode they are undefined', (t) => {
  const cpu = cpuWith(descriptor(18));
  cpu.cr0 = 0x10;
  for (const code of [VERR, VERW, LAR, LSL]) {
    t.like(completeInstruction(Uint8Array.from(code), cpu), { kind: 'exception', vector: 6 });
  }
});
