import test from 'ava';
import { completeInstruction } from '../../lib/emulate/complete.ts';
import { Flag } from '../../lib/emulate/registers.ts';
import { SegmentRegister } from '../../lib/emulate/types.ts';
import { compareWithProcessor, Stage } from './support/compare.ts';
import { instructionCase } from './support/encode.ts';
import { aboutProcessor } from './support/native.ts';
import { segment, type TestCpu } from './support/test-cpu.ts';

const about = aboutProcessor();
const INT3 = Uint8Array.of(0xcc);
const INT_80 = Uint8Array.of(0xcd, 0x80);

/** A vCPU in the kernel, with gates for all vectors at `gates` (guest-physical 0x50000). */
function kernelCpu(): { cpu: TestCpu; gates: number } {
  const { cpu } = new Stage(about);
  cpu.cpl = 0;
  cpu.registers.rip = 0x1000n;
  cpu.registers.flags = 2;
  return { cpu, gates: 0x5_0000 };
}

test('int3, int n and undefined opcodes as the processor does them for user mode', (t) => {
  const vectors = Array.from({ length: 256 }, (_, vector) => vector).filter((vector) => vector !== 0x80);
  const codes = [
    [0xcc],
    [0xf3, 0xcc],
    [0x66, 0x48, 0xcc],
    [0x0f, 0x0b],
    [0x0f, 0xb9, 0xc0],
    [0xf0, 0xcc],
    [0xf0, 0x0f, 0x0b],
    [0xce],
    ...vectors.map((vector) => [0xcd, vector]),
  ];
  compareWithProcessor(
    t,
    codes.map((code) => instructionCase({ code: Uint8Array.from(code) })),
  );
});

test('into in 32-bit code', (t) => {
  compareWithProcessor(
    t,
    [0x202, 0x202 | Flag.OF].map((rflags) => instructionCase({ code: Uint8Array.of(0xce), rflags, compat: true })),
  );
});

test('int3 is #BP with RIP behind it, int n a software interrupt', (t) => {
  const { cpu } = kernelCpu();
  const breakpoint = completeInstruction(INT3, cpu);
  t.like(breakpoint, { kind: 'exception', vector: 3, errorCode: undefined });
  t.is(cpu.registers.rip, 0x1001n);
  t.like(completeInstruction(INT_80, cpu), { kind: 'interrupt', vector: 0x80 });
  t.is(cpu.registers.rip, 0x1003n);
});

test('int1 is #DB with RIP behind it, and takes no part in the checks of gates', (t) => {
  const { cpu } = kernelCpu();
  cpu.idt = { base: 0n, limit: 0 };
  t.like(completeInstruction(Uint8Array.of(0xf1), cpu), { kind: 'exception', vector: 1, dr6: 0 });
  t.is(cpu.registers.rip, 0x1001n);
});

test('faults of the gate show RIP at the instruction and the gate in the error code', (t) => {
  const { cpu, gates } = kernelCpu();
  const gate = gates + 0x80 * 16 + 4;
  const errorCode = 0x80 * 8 + 2;
  for (const [what, high, vector] of [
    ['not present', 0x0e00, 11],
    ['not a gate', 0x8200, 13],
    ['a 32-bit task gate', 0x8500, 13],
    ['a 16-bit gate', 0x8600, 13],
    ['empty', 0, 13],
  ] as const) {
    cpu.memory.view.setUint32(gate, high, true);
    t.like(completeInstruction(INT_80, cpu), { kind: 'exception', vector, errorCode }, what);
    t.is(cpu.registers.rip, 0x1000n, what);
  }
  cpu.memory.view.setUint32(gate, 0x8f00, true);
  t.like(completeInstruction(INT_80, cpu), { kind: 'interrupt', vector: 0x80 });
});

test('an empty IDT makes int3 #GP, which KVM cannot deliver either: a triple fault', (t) => {
  const { cpu } = kernelCpu();
  cpu.idt = { base: 0n, limit: 0 };
  t.like(completeInstruction(INT3, cpu), { kind: 'exception', vector: 13, errorCode: 3 * 8 + 2 });
  t.is(cpu.registers.rip, 0x1000n);
});

test('an IDT that is not mapped is a page fault of the supervisor', (t) => {
  const { cpu } = kernelCpu();
  cpu.cpl = 3;
  cpu.idt = { base: 0xffff_9000_0000_0000n, limit: 0xfff };
  t.like(completeInstruction(INT3, cpu), { kind: 'exception', vector: 14, errorCode: 0, cr2: 0xffff_9000_0000_0034n });
});

test('32-bit code has gates of 8 bytes, task gates and 16-bit gates among them', (t) => {
  const { cpu, gates } = kernelCpu();
  cpu.efer = 0;
  cpu.cr0 = 0x11;
  cpu.segments[SegmentRegister.cs] = segment({ type: 11, dpl: 0 });
  cpu.idt = { base: BigInt(gates), limit: 0x80 * 8 + 7 };
  for (const [high, vector, kind] of [
    [0x8500, 0x80, 'interrupt'],
    [0x8600, 0x80, 'interrupt'],
    [0x8700, 0x80, 'interrupt'],
    [0x8e00, 0x80, 'interrupt'],
    [0x8200, 13, 'exception'],
    [0x0e00, 11, 'exception'],
  ] as const) {
    cpu.memory.view.setUint32(gates + 0x80 * 8 + 4, high, true);
    t.like(completeInstruction(INT_80, cpu), { kind, vector });
  }
  cpu.idt = { base: BigInt(gates), limit: 0x80 * 8 + 6 };
  t.like(completeInstruction(INT_80, cpu), { kind: 'exception', vector: 13, errorCode: 0x402 });
});

test('real mode looks at no gate, and virtual-8086 mode at IOPL', (t) => {
  const { cpu } = kernelCpu();
  cpu.efer = 0;
  cpu.cr0 = 0x10;
  cpu.idt = { base: 0n, limit: 0x3ff };
  cpu.segments[SegmentRegister.cs] = segment({ base: 0n, limit: 0xffff, type: 11, db: 0 });
  t.like(completeInstruction(INT_80, cpu), { kind: 'interrupt', vector: 0x80 });
  cpu.cr0 = 0x11;
  cpu.cpl = 3;
  cpu.registers.flags = Flag.VM | 2;
  t.like(completeInstruction(INT_80, cpu), { kind: 'exception', vector: 13, errorCode: 0 });
  cpu.registers.flags = Flag.VM | Flag.IOPL | 2;
  t.like(completeInstruction(INT_80, cpu), { kind: 'interrupt', vector: 0x80 });
});

test('an instruction pointer of 16 bits wraps', (t) => {
  const { cpu } = kernelCpu();
  cpu.efer = 0;
  cpu.cr0 = 0x10;
  cpu.segments[SegmentRegister.cs] = segment({ base: 0n, limit: 0xffff, type: 11, db: 0 });
  cpu.registers.rip = 0xffffn;
  completeInstruction(INT3, cpu);
  t.is(cpu.registers.rip, 0n);
});
