import test from 'ava';
import fc from 'fast-check';
import { completeInstruction } from '../../lib/emulate/complete.ts';
import { Register } from '../../lib/emulate/registers.ts';
import { SegmentRegister } from '../../lib/emulate/types.ts';
import { compareWithProcessor, Stage } from './support/compare.ts';
import { instructionCase } from './support/encode.ts';
import { aboutProcessor, CODE, DATA, READ_ONLY } from './support/native.ts';
import { segment, type TestCpu } from './support/test-cpu.ts';

const about = aboutProcessor();
const PHYSICAL_DATA = 0x4_0000;
const POPCNT = [0xf3, 0x0f, 0xb8, 0xc1];

function natively(t: Parameters<typeof compareWithProcessor>[0], codes: readonly (readonly number[])[]): void {
  const gpr = Array.from({ length: 16 }, (_, i) => BigInt(DATA + i * 8));
  const memory = Uint8Array.from({ length: 256 }, (_, i) => i);
  compareWithProcessor(
    t,
    codes.map((code) => instructionCase({ code: Uint8Array.from(code), gpr, memory, fsBase: 0x100n, gsBase: 0x80n })),
  );
}

test('prefixes in any order and number', (t) => {
  natively(t, [
    [0x66, 0xf3, 0x0f, 0xb8, 0xc1],
    [0xf3, 0x66, 0x0f, 0xb8, 0xc1],
    [0xf3, 0xf3, 0x48, 0x0f, 0xb8, 0xc1],
    [0xf2, 0xf3, 0x0f, 0xb8, 0xc1],
    [0x67, 0x66, 0xf3, 0x0f, 0xb8, 0x01],
    [0x2e, 0x3e, 0x26, 0x36, 0xf3, 0x0f, 0xb8, 0x01],
    [0x64, 0xf3, 0x0f, 0xb8, 0x01],
    [0x65, 0xf3, 0x0f, 0xb8, 0x01],
    [0x64, 0x65, 0xf3, 0x0f, 0xb8, 0x01],
    [0x65, 0x64, 0xf3, 0x0f, 0xb8, 0x01],
    [0x64, 0x2e, 0xf3, 0x0f, 0xb8, 0x01],
    [0x64, 0x67, 0xf3, 0x0f, 0xb8, 0x01],
  ]);
});

test('a REX prefix counts only right before the opcode, and the last of several', (t) => {
  natively(t, [
    [0x48, 0xf3, 0x0f, 0xb8, 0xc1],
    [0xf3, 0x48, 0x66, 0x0f, 0xb8, 0xc1],
    [0xf3, 0x48, 0x40, 0x0f, 0xb8, 0xc1],
    [0xf3, 0x40, 0x48, 0x0f, 0xb8, 0xc1],
    [0xf3, 0x4f, 0x0f, 0xb8, 0xc1],
    [0xf2, 0x0f, 0x38, 0xf0, 0xc4],
    [0xf2, 0x40, 0x0f, 0x38, 0xf0, 0xc4],
  ]);
});

test('fifteen bytes are an instruction, sixteen are #GP', (t) => {
  natively(t, [
    [...Array(11).fill(0x66), ...POPCNT],
    [...Array(12).fill(0x66), ...POPCNT],
    [...Array(15).fill(0x66)],
    [...Array(10).fill(0x3e), 0xf3, 0x0f, 0xb8, 0x41, 0x08],
    [...Array(11).fill(0x3e), 0xf3, 0x0f, 0xb8, 0x41, 0x08],
  ]);
});

test('LOCK makes an instruction undefined that does not take it', (t) => {
  natively(t, [
    [0xf0, 0xf3, 0x0f, 0xb8, 0xc1],
    [0xf0, 0xf3, 0x0f, 0xb8, 0x01],
    [0xf0, 0x0f, 0xae, 0x11],
    [0xf0, 0x0f, 0xae, 0xe8],
  ]);
});

/** Puts code at the end of a page and the rest behind it. */
function withCodeAcrossPages(code: readonly number[], before: number): { cpu: TestCpu; rip: number } {
  const { cpu } = new Stage(about);
  const rip = DATA + 0x1000 - before;
  cpu.memory.bytes.set(code, PHYSICAL_DATA + 0x1000 - before);
  cpu.registers.rip = BigInt(rip);
  cpu.registers.set64(1, 0xffn);
  return { cpu, rip };
}

test('bytes that KVM did not tell are fetched from the guest, across pages too', (t) => {
  const code = [0xf3, 0x48, 0x0f, 0xb8, 0xc1];
  for (let before = 0; before <= code.length; before++) {
    for (let known = 0; known <= code.length; known++) {
      const { cpu, rip } = withCodeAcrossPages(code, before);
      t.is(completeInstruction(Uint8Array.from(code.slice(0, known)), cpu).kind, 'completed');
      t.is(cpu.registers.get64(0), 8n);
      t.is(cpu.registers.rip, BigInt(rip + code.length));
    }
  }
});

test('a fetch from a page that is not there, or not executable, is #PF of a fetch', (t) => {
  const { cpu } = new Stage(about);
  cpu.efer |= 0x800;
  cpu.registers.rip = BigInt(DATA + 0x2000 - 2);
  cpu.memory.bytes.set([0xf3, 0x0f], PHYSICAL_DATA + 0x2000 - 2);
  const outcome = completeInstruction(new Uint8Array(0), cpu);
  t.like(outcome, { kind: 'exception', vector: 14, errorCode: 0x14, cr2: BigInt(DATA + 0x2000) });
});

test('16-bit addressing', (t) => {
  const { cpu } = new Stage(about);
  cpu.cr0 = 0x10;
  cpu.efer = 0;
  cpu.cpl = 0;
  cpu.segments[SegmentRegister.cs] = segment({ type: 11, db: 0, limit: 0xffff });
  cpu.segments[SegmentRegister.ds] = segment({ base: 0x4_0000n, limit: 0xffff });
  cpu.segments[SegmentRegister.ss] = segment({ base: 0x5_0000n, limit: 0xffff });
  for (const [name, value] of [
    ['rbx', 0x1_0100n],
    ['rbp', 0x1_0200n],
    ['rsi', 0x1_0010n],
    ['rdi', 0x1_0020n],
  ] as const) {
    cpu.registers.quads[Register[name]] = value;
  }
  const operands: [number[], number][] = [
    [[0x08], 0x4_0110],
    [[0x09], 0x4_0120],
    [[0x0a], 0x5_0210],
    [[0x0b], 0x5_0220],
    [[0x0c], 0x4_0010],
    [[0x0d], 0x4_0020],
    [[0x0e, 0x34, 0x12], 0x4_1234],
    [[0x0f], 0x4_0100],
    [[0x4e, 0xff], 0x5_01ff],
    [[0x8f, 0x00, 0xff], 0x4_0000],
    [[0x4c, 0xef], 0x4_ffff],
  ];
  for (const [modRm, address] of operands) {
    cpu.registers.rip = 0x100n;
    cpu.memory.bytes.fill(0, 0x4_0000, 0x6_0000);
    cpu.memory.bytes.set([0xff, 0xff], address);
    const code = Uint8Array.from([0xf3, 0x0f, 0xb8, ...modRm]);
    const outcome = completeInstruction(code, cpu);
    if (address === 0x4_ffff) {
      t.like(outcome, { kind: 'exception', vector: 13, errorCode: 0 }, 'beyond the limit');
    } else {
      t.is(outcome.kind, 'completed', JSON.stringify(outcome));
      t.is(cpu.registers.get16(1), 16, modRm.join());
      t.is(cpu.registers.rip, BigInt(0x103 + modRm.length));
    }
  }
  t.is(completeInstruction(Uint8Array.of(0x66, 0x67, 0xf3, 0x0f, 0xb8, 0x0c, 0x33), cpu).kind, 'exception');
  cpu.segments[SegmentRegister.ds] = segment({ base: 0n });
  cpu.memory.view.setUint32(0x2_0200, 0xf0f0_f0f0, true);
  t.is(completeInstruction(Uint8Array.of(0x66, 0x67, 0xf3, 0x0f, 0xb8, 0x0c, 0x1b), cpu).kind, 'completed');
  t.is(cpu.registers.get32(1), 16, 'a 32-bit address and operand in 16-bit code');
});

test('segments outside 64-bit mode: presence, type, limit, expand-down', (t) => {
  const { cpu } = new Stage(about);
  cpu.efer = 0;
  cpu.cr0 = 0x11;
  cpu.cpl = 0;
  cpu.segments[SegmentRegister.cs] = segment({ type: 11, dpl: 0 });
  const at = 0x4_0000;
  const read = [0xf3, 0x0f, 0xb8, 0x0b];
  const write = [0x0f, 0x38, 0xf1, 0x0b];
  const viaStack = [0x36, ...read];
  for (const [code, override, expected] of [
    [read, {}, 'completed'],
    [read, { unusable: 1 }, 13],
    [read, { present: 0 }, 13],
    [read, { limit: at + 3 }, 'completed'],
    [read, { limit: at + 2 }, 13],
    [read, { type: 1 }, 'completed'],
    [write, { type: 1 }, 13],
    [read, { type: 9 }, 13],
    [read, { type: 11 }, 'completed'],
    [write, { type: 11 }, 13],
    [read, { type: 7, limit: at - 1 }, 'completed'],
    [read, { type: 7, limit: at }, 13],
    [read, { type: 7, limit: 0, db: 0 }, 13],
    [viaStack, { limit: at + 2 }, 12],
    [viaStack, { unusable: 1 }, 12],
  ] as const) {
    const register = code === viaStack ? SegmentRegister.ss : SegmentRegister.ds;
    cpu.segments[register] = segment(override);
    cpu.registers.set64(3, BigInt(at));
    const outcome = completeInstruction(Uint8Array.from(code), cpu);
    const result = outcome.kind === 'exception' ? outcome.vector : outcome.kind;
    t.is(result, expected, JSON.stringify({ code, override }));
    if (outcome.kind === 'exception') t.is(outcome.errorCode, 0);
  }
});

test('code beyond the limit of its segment is #GP', (t) => {
  const { cpu } = new Stage(about);
  cpu.efer = 0;
  cpu.cr0 = 0x11;
  cpu.segments[SegmentRegister.cs] = segment({ type: 11, limit: 0x2001 });
  cpu.registers.rip = 0x2000n;
  t.like(completeInstruction(Uint8Array.of(0xf3, 0x0f), cpu), { kind: 'exception', vector: 13, errorCode: 0 });
});

test('an operand that is not RAM is not guessed at', (t) => {
  const { cpu } = new Stage(about);
  cpu.cr0 = 0x11;
  cpu.efer = 0;
  cpu.segments[SegmentRegister.cs] = segment({ type: 11, dpl: 0 });
  cpu.registers.set64(3, 0xfee0_0000n);
  const before = [...cpu.registers.quads];
  const outcome = completeInstruction(Uint8Array.of(0xf3, 0x0f, 0xb8, 0x0b), cpu);
  t.is(outcome.kind, 'unknown');
  t.regex(outcome.kind === 'unknown' ? outcome.message : '', /guest-physical 0xfee00000 is not RAM: f3 0f b8 0b /);
  t.deepEqual([...cpu.registers.quads], before);
});

test('an unknown instruction gives one line with the bytes, the address and the registers', (t) => {
  const { cpu } = new Stage(about);
  cpu.registers.rip = 0xffff_ffff_8123_4567n;
  cpu.registers.set64(0, 0x1234n);
  const outcome = completeInstruction(Uint8Array.of(0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1), cpu);
  t.is(
    outcome.kind === 'unknown' ? outcome.message.replace(/ rbx=.*/, '') : outcome.kind,
    'KVM cannot emulate an instruction and mvm does not know it: 62 f1 7c 48 58 c1 at 0x10:0xffffffff81234567 ' +
      '(64-bit, CPL 3); rax=0x1234',
  );
  t.false(/\n/.test(outcome.kind === 'unknown' ? outcome.message : '\n'));
  t.regex(outcome.kind === 'unknown' ? outcome.message : '', /rip=.* rflags=.* cr0=.* cr3=.* cr4=.* efer=0xd01$/);
});

/** Modes to fuzz in: 64-bit kernel and user, 32-bit, 16-bit, real mode. */
const MODES: readonly ((cpu: TestCpu) => void)[] = [
  (cpu) => {
    cpu.cpl = 0;
  },
  () => {},
  (cpu) => {
    cpu.segments[SegmentRegister.cs] = segment({ type: 11 });
  },
  (cpu) => {
    cpu.cr0 = 0x11;
    cpu.efer = 0;
    cpu.cpl = 0;
    cpu.segments[SegmentRegister.cs] = segment({ type: 11, db: 0, limit: 0xffff });
  },
  (cpu) => {
    cpu.cr0 = 0x10;
    cpu.efer = 0;
    cpu.cpl = 0;
    cpu.segments[SegmentRegister.cs] = segment({ type: 11, db: 0, limit: 0xffff });
  },
];

test('any bytes in any mode end in one of the outcomes, and reach no further than 15 bytes', (t) => {
  const opcode = fc.oneof(
    fc.uint8Array({ minLength: 0, maxLength: 18 }),
    fc
      .tuple(
        fc.array(fc.constantFrom(0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x64, 0x65, 0x2e, 0x48, 0x4f, 0x41), { maxLength: 4 }),
        fc.constantFrom([0x0f], [0x0f, 0x38], [0x0f, 0x3a], [0xc4, 0xe2, 0x78], [0xc5, 0xf8], [0xdb], []),
        fc.uint8Array({ minLength: 8, maxLength: 14 }),
      )
      .map(([prefixes, map, rest]) => Uint8Array.from([...prefixes, ...map, ...rest])),
  );
  const kinds = new Set<string>();
  const registers = fc.array(
    fc.oneof(fc.bigInt(0n, (1n << 64n) - 1n), fc.constantFrom(0n, BigInt(DATA), BigInt(READ_ONLY))),
    {
      minLength: 16,
      maxLength: 16,
    },
  );
  fc.assert(
    fc.property(opcode, registers, fc.nat(MODES.length - 1), (code, values, mode) => {
      const { cpu } = new Stage(about);
      MODES[mode]!(cpu);
      for (const [number, value] of values.entries()) cpu.registers.set64(number, value);
      cpu.registers.rip = mode >= 3 ? 0x100n : BigInt(CODE);
      const rip = cpu.registers.rip;
      const outcome = completeInstruction(code, cpu);
      kinds.add(outcome.kind);
      const advance = Number(cpu.registers.rip - rip);
      if (outcome.kind === 'completed' || outcome.kind === 'interrupt') return advance >= 1 && advance <= 15;
      if (outcome.kind === 'unknown') return advance === 0 && !outcome.message.includes('\n');
      return advance >= 0 && advance <= 15 && outcome.vector < 32;
    }),
    { numRuns: 4000, seed: 1 },
  );
  t.deepEqual([...kinds].sort(), ['completed', 'exception', 'interrupt', 'unknown']);
});
