import test from 'ava';
import { completeInstruction } from '../../lib/emulate/complete.ts';
import { IA32_XSS } from '../../lib/emulate/types.ts';
import { compareWithProcessor, Stage } from './support/compare.ts';
import { instructionCase } from './support/encode.ts';
import { hasFeature, lacks } from './support/features.ts';
import { compact, extendedRegions, LEGACY_REGION, randomArea, randomFeatures } from './support/fpu.ts';
import { aboutProcessor, DATA, type InstructionCase, runNatively } from './support/native.ts';
import { Random } from './support/random.ts';

const about = aboutProcessor();
const AREA_SIZE = 4096;
/** XTILECFG and XTILEDATA: left out (see native.c), though the processor may have them. */
const XCR0_AMX = 0x6_0000;
/** [rbx], with and without REX.W. */
const XSAVE = [0x0f, 0xae, 0x23];
const XSAVE64 = [0x48, 0x0f, 0xae, 0x23];
const SAVES = [
  ['xsave', [0x0f, 0xae, 0x23]],
  ['xsaveopt', [0x0f, 0xae, 0x33]],
  ['xsavec', [0x0f, 0xc7, 0x23]],
] as const;
const SAVE_CODES = SAVES.map(([, code]) => code);
const XRSTOR = [0x0f, 0xae, 0x2b];

function general(random: Random, address: number, requested: number): bigint[] {
  const gpr = Array.from({ length: 16 }, () => random.operand());
  gpr[0] = BigInt((requested & ~XCR0_AMX) >>> 0) | ((random.uniform64() << 32n) & ((1n << 64n) - 1n));
  gpr[3] = BigInt(address);
  return gpr;
}

/** Where SSE is in its initial configuration, so is MXCSR: whether a processor counts it alone as SSE in use is its affair. */
function withInitialMxcsr(area: Uint8Array): Uint8Array {
  if ((area[512]! & 2) === 0) new DataView(area.buffer).setUint32(24, 0x1f80, true);
  return area;
}

function saveCases(code: readonly number[], seed: number, count: number): InstructionCase[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const memory = random.bytes(AREA_SIZE);
    // XSTATE_BV and XCOMP_BV of an earlier save.
    memory.fill(0, 512, 576);
    memory[512] = random.below(256);
    // What becomes of reserved bytes inside components is up to the processor: 0 looks the same either way.
    if (about.isIntel) memory.fill(0, 576);
    const address = DATA + random.below(65) * 64;
    const rexW = random.below(2) === 0 ? [0x48] : [];
    return instructionCase({
      code: Uint8Array.from([...rexW, ...code]),
      gpr: general(random, address, random.below(2 ** 32)),
      fpu: withInitialMxcsr(randomArea(random, about, randomFeatures(random, about))),
      memory,
      memoryAddress: address,
    });
  });
}

for (const [name, code] of SAVES) {
  test(`${name} writes what the processor writes, and nothing else`, (t) => {
    if (lacks(t, about, 'osxsave') || (name !== 'xsave' && lacks(t, about, name))) return;
    compareWithProcessor(t, saveCases(code, name.length, 200));
  });
}

function restoreCases(seed: number, count: number, compacted: boolean): InstructionCase[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const features = randomFeatures(random, about);
    const area = randomArea(random, about, features & randomFeatures(random, about));
    const memory = new Uint8Array(AREA_SIZE);
    if (compacted) memory.set(compact(area, about, features).subarray(0, AREA_SIZE));
    else memory.set(area);
    const rexW = random.below(2) === 0 ? [0x48] : [];
    return instructionCase({
      code: Uint8Array.from([...rexW, ...XRSTOR]),
      gpr: general(random, DATA, random.below(4) === 0 ? 0xffff_ffff : random.below(2 ** 32)),
      fpu: randomArea(random, about, about.xcr0),
      memory,
    });
  });
}

const wholeState = [...LEGACY_REGION, ...extendedRegions(about)];

test('xrstor from the standard format', (t) => {
  if (lacks(t, about, 'osxsave')) return;
  compareWithProcessor(t, restoreCases(1, 200, false), { fpu: wholeState });
});

test('xrstor from the compacted format', (t) => {
  if (lacks(t, about, 'osxsave', 'xsavec')) return;
  compareWithProcessor(t, restoreCases(2, 200, true), { fpu: wholeState });
});

test('xrstor refuses a header that is not well formed, and bits that MXCSR does not have', (t) => {
  if (lacks(t, about, 'osxsave')) return;
  const random = new Random(3);
  const cases: InstructionCase[] = [];
  for (const compacted of hasFeature(about, 'xsavec') ? [false, true] : [false]) {
    for (let at = 512; at < 576; at++) {
      const [one] = restoreCases(at, 1, compacted);
      const memory = Uint8Array.from(one!.memory);
      // Bits 17 and 18 of XSTATE_BV and XCOMP_BV are well formed where there is AMX.
      memory[at]! ^= (at & 7) === 2 ? 1 << (3 + random.below(5)) : 1 << random.below(8);
      cases.push({ ...one!, memory });
    }
  }
  for (const bit of [16, 17, 18, 31]) {
    const [one] = restoreCases(bit, 1, false);
    const memory = Uint8Array.from(one!.memory);
    new DataView(memory.buffer).setUint32(24, 0x1f80 | (1 << bit), true);
    cases.push({ ...one!, memory });
  }
  const vectors = new Set(runNatively(cases).results.map(({ vector }) => vector));
  t.true(vectors.has(13));
  compareWithProcessor(t, cases, { fpu: wholeState });
});

test('an area that is misaligned, or not all there', (t) => {
  if (lacks(t, about, 'osxsave', 'xsaveopt', 'xsavec')) return;
  const random = new Random(4);
  const codes = [...SAVE_CODES, XRSTOR, [0x0f, 0xc7, 0x2b], [0x0f, 0xc7, 0x1b]];
  const addresses = [DATA + 8, DATA + 32, DATA + 0x2000, DATA + 0x2000 - 64];
  const cases = codes.flatMap((code) =>
    // Whether XRSTOR looks at components that are not in the area is up to the processor.
    (code === XRSTOR ? addresses : [...addresses, DATA + 0x2000 - 576]).map((address) =>
      instructionCase({
        code: Uint8Array.from(code),
        gpr: general(random, address, 0xffff_ffff),
        fpu: randomArea(random, about, about.xcr0),
      }),
    ),
  );
  compareWithProcessor(t, cases, { cr2Page: true });
});

test('a register operand and LOCK are undefined', (t) => {
  if (lacks(t, about, 'osxsave')) return;
  const codes = [
    [0xf0, ...XSAVE],
    [0xf0, 0x0f, 0xc7, 0x23],
    [0xf0, ...XRSTOR],
    [0x0f, 0xc7, 0xe3],
  ];
  compareWithProcessor(
    t,
    codes.map((code) => instructionCase({ code: Uint8Array.from(code) })),
  );
});

test('without CR4.OSXSAVE all of them are undefined, with CR0.TS they wait for the task', (t) => {
  const { cpu } = new Stage(about);
  const codes = [...SAVE_CODES, XRSTOR, [0x0f, 0xc7, 0x2b], [0x0f, 0xc7, 0x1b], [0x0f, 0x01, 0xd0]];
  const { cr4, cr0 } = cpu;
  for (const code of codes) {
    cpu.cr4 = cr4 & ~0x4_0000;
    t.like(completeInstruction(Uint8Array.from(code), cpu), { kind: 'exception', vector: 6 });
    cpu.cr4 = cr4;
    cpu.cr0 = cr0 | 8;
    if (code[1] !== 0x01) t.like(completeInstruction(Uint8Array.from(code), cpu), { kind: 'exception', vector: 7 });
    cpu.cr0 = cr0;
  }
});

test('xsaves and xrstors, for the kernel alone, bring every component back', (t) => {
  if (lacks(t, about, 'osxsave', 'xsaveopt', 'xsavec')) return;
  const random = new Random(5);
  const stage = new Stage(about);
  const { cpu } = stage;
  const present = about.xcr0 & ~4;
  const area = randomArea(random, about, present);
  const gpr = general(random, DATA, 0xffff_ffff);
  const save = instructionCase({
    code: Uint8Array.of(0x48, 0x0f, 0xc7, 0x2b),
    gpr,
    fpu: area,
    memory: new Uint8Array(8192),
  });
  t.is(stage.run(save).vector, 13, 'CPL 3');
  cpu.cpl = 0;
  cpu.cr4 &= ~0x20_0000;
  const saved = stage.run(save);
  t.is(saved.vector, 1);
  t.deepEqual(Buffer.from(saved.memory), Buffer.from(compactAll(area, present)));
  const other = randomArea(random, about, about.xcr0);
  const restore = { ...save, code: Uint8Array.of(0x48, 0x0f, 0xc7, 0x1b), fpu: other, memory: saved.memory };
  t.is(stage.run(restore).vector, 1);
  for (const [start, end] of wholeState) t.deepEqual(cpu.image.slice(start, end), area.slice(start, end));
  t.is(cpu.view.getUint32(512, true), present);
  t.is(stage.run({ ...restore, memory: new Uint8Array(8192) }).vector, 13, 'the standard format');
  cpu.msrs.set(IA32_XSS, 0x800n);
  t.is(stage.run(save).vector, -1);
});

/** What `xsaves` of everything writes into memory that was 0: components in their initial configuration are left out. */
function compactAll(area: Uint8Array, present: number): Uint8Array {
  const result = compact(area, about, about.xcr0);
  new DataView(result.buffer).setUint32(512, present, true);
  return result;
}

test('a component that the image does not reach ends as unknown', (t) => {
  const stage = new Stage(about);
  stage.cpu.xcr0 = 3 | (1 << 18);
  stage.cpu.xsaveLayout = { supported: stage.cpu.xcr0, components: [] };
  stage.cpu.xsaveLayout = {
    supported: stage.cpu.xcr0,
    components: Array.from({ length: 19 }, (_, i) =>
      i === 18 ? { offset: 16000, size: 1000, aligned: true } : undefined,
    ),
  };
  const gpr = general(new Random(6), DATA, 0);
  gpr[0] = 0xffff_ffffn;
  const code = Uint8Array.from([0x0f, 0xc7, 0x23]);
  t.is(stage.run(instructionCase({ code, gpr })).vector, 1, 'not in use');
  t.is(stage.run(instructionCase({ code: Uint8Array.from(XSAVE64), gpr })).vector, 14, 'too large for its pages');
  stage.cpu.xsaveLayout = {
    supported: stage.cpu.xcr0,
    components: Array.from({ length: 19 }, (_, i) =>
      i === 18 ? { offset: 576, size: 1e5, aligned: true } : undefined,
    ),
  };
  t.is(stage.run(instructionCase({ code: Uint8Array.from(XSAVE), gpr })).vector, 14);
});
