import test from 'ava';
import { completeInstruction } from '../../lib/emulate/complete.ts';
import { Flag } from '../../lib/emulate/registers.ts';
import { isValidXcr0 } from '../../lib/emulate/system.ts';
import { IA32_TSC_AUX, type Outcome } from '../../lib/emulate/types.ts';
import { compareWithProcessor, Stage } from './support/compare.ts';
import { encode, instructionCase } from './support/encode.ts';
import { lacks } from './support/features.ts';
import { generalCases } from './support/general.ts';
import { aboutProcessor, CODE, DATA, runNatively } from './support/native.ts';
import type { TestCpu } from './support/test-cpu.ts';

const about = aboutProcessor();
const PHYSICAL_DATA = 0x4_0000;

const CLAC = [0x0f, 0x01, 0xca];
const STAC = [0x0f, 0x01, 0xcb];
const RDTSCP = [0x0f, 0x01, 0xf9];
const XGETBV = [0x0f, 0x01, 0xd0];
const XSETBV = [0x0f, 0x01, 0xd1];
const RDPKRU = [0x0f, 0x01, 0xee];
const WRPKRU = [0x0f, 0x01, 0xef];
/** rdi, [rsi]. */
const INVPCID = [0x66, 0x0f, 0x38, 0x82, 0x3e];

function kernelCpu(): TestCpu {
  const { cpu } = new Stage(about);
  cpu.cpl = 0;
  cpu.registers.rip = 0x1000n;
  cpu.registers.flags = 2;
  return cpu;
}

function complete(cpu: TestCpu, code: readonly number[]): Outcome {
  return completeInstruction(Uint8Array.from(code), cpu);
}

test('what user mode may not do', (t) => {
  if (lacks(t, about, 'invpcid', 'osxsave')) return;
  const codes = [CLAC, STAC, XSETBV, INVPCID, [0x66, 0x0f, 0x38, 0x82, 0xfe], [0xf0, ...XGETBV]];
  compareWithProcessor(
    t,
    codes.map((code) => instructionCase({ code: Uint8Array.from(code) })),
  );
});

test('clac and stac', (t) => {
  const cpu = kernelCpu();
  t.like(complete(cpu, STAC), { kind: 'completed', flushTlb: false });
  t.is(cpu.registers.flags, 2 | Flag.AC);
  t.is(cpu.registers.rip, 0x1003n);
  complete(cpu, CLAC);
  t.is(cpu.registers.flags, 2);
});

test('rdtscp and rdpid give the counter and TSC_AUX, with upper halves cleared', (t) => {
  const cpu = kernelCpu();
  for (let i = 0; i < 16; i++) cpu.registers.set64(i, (1n << 64n) - 1n);
  cpu.tsc = 0x1234_5678_9abc_def0n;
  cpu.msrs.set(IA32_TSC_AUX, 0xfff_0000_0007n);
  complete(cpu, RDTSCP);
  t.deepEqual(
    [0, 2, 1].map((number) => cpu.registers.get64(number)),
    [0x9abc_def0n, 0x1234_5678n, 7n],
  );
  complete(cpu, [0xf3, 0x41, 0x0f, 0xc7, 0xf8]);
  t.is(cpu.registers.get64(8), 7n);
  cpu.cr4 |= 4;
  t.is(complete(cpu, RDTSCP).kind, 'completed');
  cpu.cpl = 3;
  t.like(complete(cpu, RDTSCP), { kind: 'exception', vector: 13, errorCode: 0 });
});

test('rdtscp and rdpid agree with the processor in shape', (t) => {
  if (lacks(t, about, 'rdpid')) return;
  const codes = [RDTSCP, [0x66, ...RDTSCP], [0xf3, 0x0f, 0xc7, 0xf9], [0xf3, 0x49, 0x0f, 0xc7, 0xfb]];
  const gpr = Array.from({ length: 16 }, () => (1n << 64n) - 1n);
  const cases = codes.map((code) => instructionCase({ code: Uint8Array.from(code), gpr }));
  const stage = new Stage(about);
  for (const [i, native] of runNatively(cases).results.entries()) {
    const emulated = stage.run(cases[i]!);
    t.is(emulated.vector, native.vector);
    t.is(emulated.ripAdvance, native.ripAdvance);
    const changed = (values: readonly bigint[]) => values.map((value, number) => (value === gpr[number] ? -1 : number));
    t.deepEqual(changed(emulated.gpr), changed(native.gpr));
  }
});

test('xgetbv of XCR0', (t) => {
  if (lacks(t, about, 'osxsave')) return;
  const gpr = Array.from({ length: 16 }, () => (1n << 64n) - 1n);
  const cases = [0n, 0x7_0000_0000n, 2n, 0xffff_ffffn].map((rcx) => {
    return instructionCase({ code: Uint8Array.from(XGETBV), gpr: gpr.map((value, i) => (i === 1 ? rcx : value)) });
  });
  compareWithProcessor(t, cases, {
    prepare: (cpu) => {
      cpu.xcr0 = about.wholeXcr0;
    },
  });
});

test('xgetbv of the components in use', (t) => {
  const cpu = kernelCpu();
  cpu.xcr0 = 7;
  cpu.view.setUint32(512, 0xfd, true);
  cpu.registers.set64(1, 1n);
  complete(cpu, XGETBV);
  t.is(cpu.registers.get64(0), 5n);
});

test('xsetbv takes the combinations that the manual allows', (t) => {
  const supported = 0x6_02ff;
  for (const value of [1, 3, 7, 0xe7, 0x6_00e7, 0x1b, 0x203]) t.true(isValidXcr0(value, supported), String(value));
  for (const value of [0, 2, 5, 6, 0x27, 0xe3, 0x2_0003, 0xb, 0x103, 0x403])
    t.false(isValidXcr0(value, supported), String(value));
  const cpu = kernelCpu();
  cpu.xsaveLayout = { ...cpu.xsaveLayout, supported: 7 };
  cpu.registers.set64(0, 7n);
  t.is(complete(cpu, XSETBV).kind, 'completed');
  t.is(cpu.xcr0, 7);
  for (const [number, value] of [
    [0, 5n],
    [1, 1n],
    [2, 1n],
  ] as const) {
    cpu.registers.set64(0, 3n);
    cpu.registers.set64(1, 0n);
    cpu.registers.set64(2, 0n);
    cpu.registers.set64(number, value);
    t.like(complete(cpu, XSETBV), { kind: 'exception', vector: 13 });
    t.is(cpu.xcr0, 7);
  }
});

test('invpcid asks that translations go, and refuses what is reserved', (t) => {
  const cpu = kernelCpu();
  cpu.cr4 &= ~0x20_0000;
  const descriptor = (low: bigint, address = 0n) => {
    cpu.memory.view.setBigUint64(PHYSICAL_DATA, low, true);
    cpu.memory.view.setBigUint64(PHYSICAL_DATA + 8, address, true);
  };
  const run = (type: bigint) => {
    cpu.registers.set64(6, BigInt(DATA));
    cpu.registers.set64(7, type);
    return complete(cpu, INVPCID);
  };
  descriptor(0n);
  for (const type of [0n, 1n, 2n, 3n]) t.like(run(type), { kind: 'completed', flushTlb: true });
  for (const type of [4n, 1n << 32n]) t.like(run(type), { kind: 'exception', vector: 13, errorCode: 0 });
  descriptor(5n);
  for (const type of [0n, 1n]) t.like(run(type), { kind: 'exception', vector: 13 }, 'a PCID without CR4.PCIDE');
  t.like(run(2n), { kind: 'completed' });
  cpu.cr4 |= 0x2_0000;
  t.like(run(0n), { kind: 'completed' });
  descriptor(1n << 12n);
  t.like(run(3n), { kind: 'exception', vector: 13 }, 'a reserved bit');
  descriptor(0n, 1n << 63n);
  t.like(run(0n), { kind: 'exception', vector: 13 }, 'an address that is not canonical');
  t.like(run(1n), { kind: 'completed' });
  cpu.registers.set64(6, 0x5000_0000n);
  t.like(complete(cpu, INVPCID), { kind: 'exception', vector: 14, errorCode: 0, cr2: 0x5000_0000n });
});

test('SMAP keeps the kernel from user pages unless AC is set', (t) => {
  const cpu = kernelCpu();
  cpu.cr4 |= 0x20_0000;
  cpu.registers.set64(6, BigInt(DATA));
  cpu.registers.set64(7, 2n);
  cpu.memory.view.setBigUint64(PHYSICAL_DATA, 0n, true);
  t.like(complete(cpu, INVPCID), { kind: 'exception', vector: 14, errorCode: 1 });
  cpu.registers.flags = 2 | Flag.AC;
  t.is(complete(cpu, INVPCID).kind, 'completed');
});

test('rdpkru and wrpkru', (t) => {
  const cpu = kernelCpu();
  t.like(complete(cpu, RDPKRU), { kind: 'exception', vector: 6 });
  cpu.cr4 |= 0x40_0000;
  cpu.xsaveLayout = { supported: 0x207, components: [...Array(9), { offset: 2688, size: 8, aligned: false }] };
  cpu.registers.set64(0, 0xffff_ffff_5555_aaa0n);
  t.is(complete(cpu, WRPKRU).kind, 'completed');
  t.is(cpu.view.getUint32(2688, true), 0x5555_aaa0);
  t.is(cpu.view.getUint32(512, true) & 0x200, 0x200);
  t.is(cpu.pkru, 0x5555_aaa0);
  cpu.registers.set64(0, 0n);
  cpu.registers.set64(2, 0xffff_ffff_ffff_ffffn);
  complete(cpu, RDPKRU);
  t.deepEqual([cpu.registers.get64(0), cpu.registers.get64(2)], [0x5555_aaa0n, 0n]);
  cpu.registers.set64(2, 1n);
  t.like(complete(cpu, WRPKRU), { kind: 'exception', vector: 13 });
  cpu.registers.set64(1, 1n);
  t.like(complete(cpu, RDPKRU), { kind: 'exception', vector: 13 });
});

test('monitor, mwait and their like are over at once, in the kernel', (t) => {
  const cpu = kernelCpu();
  for (const last of [0xc8, 0xc9, 0xfa, 0xfb]) {
    t.is(complete(cpu, [0x0f, 0x01, last]).kind, 'completed');
  }
  cpu.cpl = 3;
  t.like(complete(cpu, [0x0f, 0x01, 0xc8]), { kind: 'exception', vector: 6 });
  t.is(complete(cpu, [0x0f, 0x01, 0xfa]).kind, 'completed');
});

test('clwb is checked like a load, fences change nothing', (t) => {
  if (lacks(t, about, 'clwb')) return;
  const clwb = { prefix: [0x66], opcode: [0x0f, 0xae] };
  compareWithProcessor(t, generalCases(clwb, { seed: 1, memorySize: 1, forms: 'memory', extension: 6 }));
  const fences = [0xe8, 0xf0, 0xf8].map((modRm) => instructionCase({ code: Uint8Array.of(0x0f, 0xae, modRm) }));
  compareWithProcessor(t, fences);
});

test('single-stepping goes on to #DB when the instruction is done', (t) => {
  const cpu = kernelCpu();
  cpu.registers.flags = 2 | Flag.TF | Flag.RF;
  t.like(complete(cpu, STAC), { kind: 'exception', vector: 1, dr6: 0x4000, errorCode: undefined });
  t.is(cpu.registers.flags, 2 | Flag.TF | Flag.AC);
  t.is(cpu.registers.rip, 0x1003n);
});

test('RF is cleared by an instruction that is done, and set in the frame of a fault', (t) => {
  const cpu = kernelCpu();
  cpu.registers.flags = 2 | Flag.RF;
  complete(cpu, STAC);
  t.is(cpu.registers.flags, 2 | Flag.AC);
  complete(cpu, [0x0f, 0x0b]);
  t.is(cpu.registers.flags, 2 | Flag.AC | Flag.RF);
});

test('group members that are not known leave everything as it was', (t) => {
  const cpu = kernelCpu();
  const before = [...cpu.registers.quads];
  const codes = [
    encode({ opcode: [0x0f, 0x01] }, { reg: 0, rm: { register: 1 } }, CODE),
    encode({ opcode: [0x0f, 0xae] }, { reg: 0, rm: { register: 1 } }, CODE),
    encode({ opcode: [0x0f, 0xc7] }, { reg: 6, rm: { register: 1 } }, CODE),
    encode({ opcode: [0x0f, 0x00] }, { reg: 0, rm: { register: 1 } }, CODE),
  ];
  for (const code of codes) {
    t.is(complete(cpu, [...code]).kind, 'unknown');
    t.deepEqual([...cpu.registers.quads], before);
  }
});
