import test, { type ExecutionContext } from 'ava';
import { completeInstruction } from '../../lib/emulate/complete.ts';
import { compareWithProcessor, Stage } from './support/compare.ts';
import { encode, instructionCase, memoryOperand, randomState } from './support/encode.ts';
import { randomArea } from './support/fpu.ts';
import { generalCases } from './support/general.ts';
import { aboutProcessor, CODE, DATA, DATA_SIZE, type InstructionCase, runNatively } from './support/native.ts';
import { Random } from './support/random.ts';

const about = aboutProcessor();
const AVX = 4;
const MXCSR_ONLY = [[24, 28]] as const;
/** All but FOP, FIP and FDP: which of them the processor keeps, and when, differs between processors. */
const WITHOUT_POINTERS = [
  [0, 6],
  [24, 28],
  [32, 416],
] as const;

/** Gives cases a random floating-point state. */
function withState(cases: readonly InstructionCase[], seed: number, present = 3): InstructionCase[] {
  const random = new Random(seed);
  return cases.map((one) => ({ ...one, fpu: randomArea(random, about, present) }));
}

for (const [name, vex] of [
  ['', false],
  ['v', true],
] as const) {
  const encoding = vex ? { vex: { map: 1, pp: 0 }, opcode: [0xae] } : { opcode: [0x0f, 0xae] };
  test(`${name}stmxcsr`, (t) => {
    if (vex && lacksAvx(t)) return;
    // The one vector register operand of the encoding is not used, and must read 0.
    const cases = generalCases(encoding, { seed: 1, memorySize: 4, forms: 'memory', extension: 3 }).filter(
      ({ code }) => !vex || unusedRegister(code) === 0,
    );
    compareWithProcessor(t, withState(cases, 2));
  });

  test(`${name}ldmxcsr, with and without bits that are reserved`, (t) => {
    if (vex && lacksAvx(t)) return;
    const cases = generalCases(encoding, {
      seed: 3,
      memorySize: 4,
      forms: 'memory',
      extension: 2,
      adjust: (random, { memory }) => {
        if (random.below(3) > 0) new DataView(memory.buffer).setUint32(0, random.below(0x10000), true);
      },
    }).filter(({ code }) => !vex || unusedRegister(code) === 0);
    compareWithProcessor(t, withState(cases, 4), { fpu: MXCSR_ONLY });
  });
}

function lacksAvx(t: ExecutionContext): boolean {
  if ((about.xcr0 & AVX) !== 0) return false;
  t.log('this processor has no AVX');
  t.pass();
  return true;
}

function unusedRegister(code: Uint8Array): number {
  const at = code.findIndex((byte) => byte === 0xc4 || byte === 0xc5);
  return ~(code[at + (code[at] === 0xc4 ? 2 : 1)]! >> 3) & 0xf;
}

test('VEX.L = 1 and an unused VEX.vvvv are undefined', (t) => {
  if (lacksAvx(t)) return;
  const operands = { reg: 3, vvvv: 1, rm: { register: 0 } };
  const codes = [
    encode({ vex: { map: 1, pp: 0, l: 1 }, opcode: [0xae] }, { ...operands, vvvv: 0 }, CODE),
    Uint8Array.of(0xc5, 0xf0, 0xae, 0x1b),
    Uint8Array.of(0xc5, 0xfc, 0xae, 0x1b),
    Uint8Array.of(0xc5, 0xf8, 0xae, 0x2b),
  ];
  const gpr = Array.from({ length: 16 }, () => BigInt(DATA));
  compareWithProcessor(
    t,
    codes.map((code) => instructionCase({ code, gpr })),
  );
});

test('MXCSR is not there without CR4.OSFXSR or with CR0.EM, and waits for the task with CR0.TS', (t) => {
  const { cpu } = new Stage(about);
  const code = Uint8Array.of(0x0f, 0xae, 0x1b);
  const { cr0, cr4 } = cpu;
  cpu.cr4 = cr4 & ~0x200;
  t.like(completeInstruction(code, cpu), { vector: 6 });
  cpu.cr4 = cr4;
  cpu.cr0 = cr0 | 4;
  t.like(completeInstruction(code, cpu), { vector: 6 });
  cpu.cr0 = cr0 | 8;
  t.like(completeInstruction(code, cpu), { vector: 7 });
  cpu.cr0 = cr0;
  cpu.xcr0 = 3;
  t.like(completeInstruction(Uint8Array.of(0xc5, 0xf8, 0xae, 0x1b), cpu), { vector: 6 });
});

function escapeCases(code: readonly number[], extension: number, size: number, seed: number): InstructionCase[] {
  const random = new Random(seed);
  return Array.from({ length: 300 }, () => {
    const state = randomState(random);
    const target = DATA + random.below(DATA_SIZE - size);
    const rm = memoryOperand(random, target, state);
    const bytes = encode({ opcode: code }, { reg: extension, rm }, CODE);
    const memory = new Uint8Array(8);
    new DataView(memory.buffer).setBigUint64(0, random.operand(), true);
    return instructionCase({ ...state, code: bytes, memoryAddress: target, memory: memory.subarray(0, size) });
  });
}

test('fwait', (t) => {
  const cases = withState(
    Array.from({ length: 100 }, () => instructionCase({ code: Uint8Array.of(0x9b) })),
    5,
  );
  const vectors = new Set(runNatively(cases).results.map(({ vector }) => vector));
  t.deepEqual(vectors, new Set([1, 16]));
  compareWithProcessor(t, cases, { fpu: WITHOUT_POINTERS });
});

test('emms', (t) => {
  const cases = Array.from({ length: 100 }, () => instructionCase({ code: Uint8Array.of(0x0f, 0x77) }));
  compareWithProcessor(t, withState(cases, 6), { fpu: WITHOUT_POINTERS });
});

test('fnclex', (t) => {
  const cases = Array.from({ length: 100 }, () => instructionCase({ code: Uint8Array.of(0xdb, 0xe2) }));
  compareWithProcessor(t, withState(cases, 7), { fpu: WITHOUT_POINTERS });
});

test('fldcw', (t) => {
  compareWithProcessor(t, withState(escapeCases([0xd9], 5, 2, 8), 9), { fpu: WITHOUT_POINTERS });
});

for (const [size, opcode, extension] of [
  [2, 0xdf, 0],
  [4, 0xdb, 0],
  [8, 0xdf, 5],
] as const) {
  test(`fild of ${size} bytes`, (t) => {
    compareWithProcessor(t, withState(escapeCases([opcode], extension, size, size), 10 + size), {
      fpu: WITHOUT_POINTERS,
    });
  });
}

test('x87 with CR0.EM or CR0.TS', (t) => {
  const { cpu } = new Stage(about);
  const { cr0 } = cpu;
  for (const [code, bits, vector] of [
    [[0x9b], 8, 7],
    [[0x9b], 4, undefined],
    [[0xdb, 0xe2], 4, 7],
    [[0xdb, 0xe2], 8, 7],
    [[0x0f, 0x77], 4, 6],
    [[0x0f, 0x77], 8, 7],
  ] as const) {
    cpu.cr0 = cr0 | bits;
    const outcome = completeInstruction(Uint8Array.from(code), cpu);
    t.is(outcome.kind === 'exception' ? outcome.vector : undefined, vector, `${code} with CR0 bit ${bits}`);
  }
  cpu.cr0 = (cr0 & ~2) | 8;
  t.is(completeInstruction(Uint8Array.of(0x9b), cpu).kind, 'completed', 'fwait with TS but without MP');
});
