import test, { type ExecutionContext } from 'ava';
import { completeInstruction } from '../../lib/emulate/complete.ts';
import { compareWithProcessor, Stage } from './support/compare.ts';
import type { Encoding } from './support/encode.ts';
import { instructionCase } from './support/encode.ts';
import { type Feature, lacks } from './support/features.ts';
import { extendedRegions, randomArea } from './support/fpu.ts';
import { type GeneralOptions, generalCases } from './support/general.ts';
import { aboutProcessor, DATA, type InstructionCase } from './support/native.ts';
import { Random } from './support/random.ts';

const about = aboutProcessor();
/** XMM and MXCSR, and everything beyond: the upper halves of wider registers must stay. */
const VECTOR_STATE = [[24, 28], [160, 416], ...extendedRegions(about)] as const;

interface Group {
  readonly prefix: readonly number[];
  readonly map: readonly number[];
  readonly needs?: Feature;
  readonly names: Readonly<Record<string, number>>;
}

/** Instructions `op xmm, xmm/m128`, with `immediate` or without. */
const BINARY: readonly Group[] = [
  {
    prefix: [0x66],
    map: [0x0f],
    names: {
      paddb: 0xfc,
      paddw: 0xfd,
      paddd: 0xfe,
      paddq: 0xd4,
      psubb: 0xf8,
      psubw: 0xf9,
      psubd: 0xfa,
      psubq: 0xfb,
      paddusb: 0xdc,
      paddusw: 0xdd,
      paddsb: 0xec,
      paddsw: 0xed,
      psubusb: 0xd8,
      psubusw: 0xd9,
      psubsb: 0xe8,
      psubsw: 0xe9,
      pmullw: 0xd5,
      pmulhuw: 0xe4,
      pmulhw: 0xe5,
      pmuludq: 0xf4,
      pmaddwd: 0xf5,
      psadbw: 0xf6,
      pavgb: 0xe0,
      pavgw: 0xe3,
      pminub: 0xda,
      pmaxub: 0xde,
      pminsw: 0xea,
      pmaxsw: 0xee,
      pcmpeqb: 0x74,
      pcmpeqw: 0x75,
      pcmpeqd: 0x76,
      pcmpgtb: 0x64,
      pcmpgtw: 0x65,
      pcmpgtd: 0x66,
      pand: 0xdb,
      pandn: 0xdf,
      por: 0xeb,
      pxor: 0xef,
      psllw: 0xf1,
      pslld: 0xf2,
      psllq: 0xf3,
      psrlw: 0xd1,
      psrld: 0xd2,
      psrlq: 0xd3,
      psraw: 0xe1,
      psrad: 0xe2,
      punpcklbw: 0x60,
      punpcklwd: 0x61,
      punpckldq: 0x62,
      punpcklqdq: 0x6c,
      punpckhbw: 0x68,
      punpckhwd: 0x69,
      punpckhdq: 0x6a,
      punpckhqdq: 0x6d,
      packsswb: 0x63,
      packuswb: 0x67,
      packssdw: 0x6b,
      andpd: 0x54,
      andnpd: 0x55,
      orpd: 0x56,
      xorpd: 0x57,
      unpcklpd: 0x14,
      unpckhpd: 0x15,
    },
  },
  {
    prefix: [],
    map: [0x0f],
    names: { andps: 0x54, andnps: 0x55, orps: 0x56, xorps: 0x57, unpcklps: 0x14, unpckhps: 0x15 },
  },
  {
    prefix: [0x66],
    map: [0x0f, 0x38],
    needs: 'ssse3',
    names: {
      pshufb: 0x00,
      phaddw: 0x01,
      phaddd: 0x02,
      phaddsw: 0x03,
      pmaddubsw: 0x04,
      phsubw: 0x05,
      phsubd: 0x06,
      phsubsw: 0x07,
      psignb: 0x08,
      psignw: 0x09,
      psignd: 0x0a,
      pmulhrsw: 0x0b,
      pabsb: 0x1c,
      pabsw: 0x1d,
      pabsd: 0x1e,
    },
  },
  {
    prefix: [0x66],
    map: [0x0f, 0x38],
    needs: 'sse4.1',
    names: {
      pblendvb: 0x10,
      blendvps: 0x14,
      blendvpd: 0x15,
      ptest: 0x17,
      pmuldq: 0x28,
      pcmpeqq: 0x29,
      packusdw: 0x2b,
      pminsb: 0x38,
      pminsd: 0x39,
      pminuw: 0x3a,
      pminud: 0x3b,
      pmaxsb: 0x3c,
      pmaxsd: 0x3d,
      pmaxuw: 0x3e,
      pmaxud: 0x3f,
      pmulld: 0x40,
      phminposuw: 0x41,
    },
  },
  { prefix: [0x66], map: [0x0f, 0x38], needs: 'sse4.2', names: { pcmpgtq: 0x37 } },
];

const WITH_IMMEDIATE: readonly Group[] = [
  { prefix: [0x66], map: [0x0f], names: { pshufd: 0x70, shufpd: 0xc6 } },
  { prefix: [0xf2], map: [0x0f], names: { pshuflw: 0x70 } },
  { prefix: [0xf3], map: [0x0f], names: { pshufhw: 0x70 } },
  { prefix: [], map: [0x0f], names: { shufps: 0xc6 } },
  { prefix: [0x66], map: [0x0f, 0x3a], needs: 'ssse3', names: { palignr: 0x0f } },
  { prefix: [0x66], map: [0x0f, 0x3a], needs: 'sse4.1', names: { blendps: 0x0c, blendpd: 0x0d, pblendw: 0x0e } },
];

const anyImmediate = (random: Random) => [random.below(4) > 0 ? random.below(32) : random.below(256)];

/** Words whose products and sums are on the edge of rounding and saturation. */
const EXTREME_WORDS = [0, 1, 3, 0x4000, 0x7fff, 0x8000, 0xffff].map((word) => [word & 0xff, word >> 8]);

/** Random cases with a random state of all vector registers. */
function vectorCases(encoding: Encoding, options: GeneralOptions): InstructionCase[] {
  const random = new Random(options.seed + 1000);
  return generalCases(encoding, options).map((one) => {
    const fpu = randomArea(random, about, about.xcr0);
    for (let i = 0; i < 16; i++) {
      // Shift counts, equal lanes and extreme values need help to be met.
      const at = 160 + i * 16;
      if (random.below(3) === 0) fpu.fill(random.pick([0, 0x7f, 0x80, 0xff]), at, at + 16);
      const other = 160 + random.below(16) * 16;
      if (random.below(3) === 0) fpu.copyWithin(at, other, other + 8);
      if (random.below(3) === 0) fpu.set(Array.from({ length: 8 }, () => random.pick(EXTREME_WORDS)).flat(), at);
      if (random.below(3) === 0) fpu.set([random.below(70), 0, 0, 0, 0, 0, 0, 0], at);
    }
    return { ...one, fpu };
  });
}

function check(
  t: ExecutionContext,
  encoding: Encoding,
  options: Omit<GeneralOptions, 'seed'> & { seed?: number },
  needs?: Feature,
): void {
  if (needs && lacks(t, about, needs)) return;
  const seed = encoding.opcode.at(-1)! + (encoding.prefix?.[0] ?? 0);
  compareWithProcessor(t, vectorCases(encoding, { count: 120, seed, ...options }), { fpu: VECTOR_STATE });
}

for (const { prefix, map, needs, names } of BINARY) {
  for (const [name, opcode] of Object.entries(names)) {
    test(name, (t) => check(t, { prefix, opcode: [...map, opcode] }, { memorySize: 16, align: 16 }, needs));
  }
}

for (const { prefix, map, needs, names } of WITH_IMMEDIATE) {
  for (const [name, opcode] of Object.entries(names)) {
    const options = { memorySize: 16, align: 16, immediate: anyImmediate };
    test(name, (t) => check(t, { prefix, opcode: [...map, opcode] }, options, needs));
  }
}

test('shifts by an immediate', (t) => {
  for (const [opcode, extensions] of [
    [0x71, [2, 4, 6]],
    [0x72, [2, 4, 6]],
    [0x73, [2, 3, 6, 7]],
  ] as const) {
    for (const extension of extensions) {
      const immediate = (random: Random) => [random.below(80)];
      const options = { memorySize: 16, forms: 'register', extension, immediate } as const;
      check(t, { prefix: [0x66], opcode: [0x0f, opcode] }, options);
    }
  }
});

test('pmovsx and pmovzx', (t) => {
  for (const [low, size] of [
    [0, 8],
    [1, 4],
    [2, 2],
    [3, 8],
    [4, 4],
    [5, 8],
  ] as const) {
    for (const high of [0x20, 0x30]) {
      check(t, { prefix: [0x66], opcode: [0x0f, 0x38, high + low] }, { memorySize: size }, 'sse4.1');
    }
  }
});

interface Move {
  readonly prefix: readonly number[];
  readonly opcode: readonly number[];
  readonly size: number;
  readonly w?: boolean;
  readonly forms?: 'register' | 'memory';
  readonly align?: number;
  readonly needs?: Feature;
  readonly immediate?: boolean;
}

const MOVES: Readonly<Record<string, Move>> = {
  'movups load': { prefix: [], opcode: [0x10], size: 16 },
  'movups store': { prefix: [], opcode: [0x11], size: 16 },
  'movupd load': { prefix: [0x66], opcode: [0x10], size: 16 },
  'movaps load': { prefix: [], opcode: [0x28], size: 16, align: 16 },
  'movaps store': { prefix: [], opcode: [0x29], size: 16, align: 16 },
  'movapd store': { prefix: [0x66], opcode: [0x29], size: 16, align: 16 },
  'movdqa load': { prefix: [0x66], opcode: [0x6f], size: 16, align: 16 },
  'movdqa store': { prefix: [0x66], opcode: [0x7f], size: 16, align: 16 },
  'movdqu load': { prefix: [0xf3], opcode: [0x6f], size: 16 },
  'movdqu store': { prefix: [0xf3], opcode: [0x7f], size: 16 },
  lddqu: { prefix: [0xf2], opcode: [0xf0], size: 16, forms: 'memory' },
  movntps: { prefix: [], opcode: [0x2b], size: 16, forms: 'memory', align: 16 },
  movntdq: { prefix: [0x66], opcode: [0xe7], size: 16, forms: 'memory', align: 16 },
  movntdqa: { prefix: [0x66], opcode: [0x38, 0x2a], size: 16, forms: 'memory', align: 16, needs: 'sse4.1' },
  'movlps load, movhlps': { prefix: [], opcode: [0x12], size: 8 },
  'movlpd load': { prefix: [0x66], opcode: [0x12], size: 8, forms: 'memory' },
  'movlps store': { prefix: [], opcode: [0x13], size: 8, forms: 'memory' },
  'movhps load, movlhps': { prefix: [], opcode: [0x16], size: 8 },
  'movhpd load': { prefix: [0x66], opcode: [0x16], size: 8, forms: 'memory' },
  'movhps store': { prefix: [], opcode: [0x17], size: 8, forms: 'memory' },
  'movss load': { prefix: [0xf3], opcode: [0x10], size: 4 },
  'movss store': { prefix: [0xf3], opcode: [0x11], size: 4 },
  'movsd load': { prefix: [0xf2], opcode: [0x10], size: 8 },
  'movsd store': { prefix: [0xf2], opcode: [0x11], size: 8 },
  'movd load': { prefix: [0x66], opcode: [0x6e], size: 4 },
  'movd store': { prefix: [0x66], opcode: [0x7e], size: 4 },
  'movq load, general': { prefix: [0x66], opcode: [0x6e], size: 8, w: true },
  'movq store, general': { prefix: [0x66], opcode: [0x7e], size: 8, w: true },
  'movq load': { prefix: [0xf3], opcode: [0x7e], size: 8 },
  'movq store': { prefix: [0x66], opcode: [0xd6], size: 8 },
  movddup: { prefix: [0xf2], opcode: [0x12], size: 8 },
  movsldup: { prefix: [0xf3], opcode: [0x12], size: 16, align: 16 },
  movshdup: { prefix: [0xf3], opcode: [0x16], size: 16, align: 16 },
  pmovmskb: { prefix: [0x66], opcode: [0xd7], size: 16, forms: 'register' },
  movmskps: { prefix: [], opcode: [0x50], size: 16, forms: 'register' },
  movmskpd: { prefix: [0x66], opcode: [0x50], size: 16, forms: 'register' },
  movnti: { prefix: [], opcode: [0xc3], size: 4, forms: 'memory' },
  'movnti, 64 bits': { prefix: [], opcode: [0xc3], size: 8, w: true, forms: 'memory' },
  pinsrw: { prefix: [0x66], opcode: [0xc4], size: 2, immediate: true },
  'pextrw of SSE2': { prefix: [0x66], opcode: [0xc5], size: 2, immediate: true, forms: 'register' },
  pextrb: { prefix: [0x66], opcode: [0x3a, 0x14], size: 1, immediate: true, needs: 'sse4.1' },
  pextrw: { prefix: [0x66], opcode: [0x3a, 0x15], size: 2, immediate: true, needs: 'sse4.1' },
  pextrd: { prefix: [0x66], opcode: [0x3a, 0x16], size: 4, immediate: true, needs: 'sse4.1' },
  pextrq: { prefix: [0x66], opcode: [0x3a, 0x16], size: 8, w: true, immediate: true, needs: 'sse4.1' },
  extractps: { prefix: [0x66], opcode: [0x3a, 0x17], size: 4, immediate: true, needs: 'sse4.1' },
  pinsrb: { prefix: [0x66], opcode: [0x3a, 0x20], size: 1, immediate: true, needs: 'sse4.1' },
  pinsrd: { prefix: [0x66], opcode: [0x3a, 0x22], size: 4, immediate: true, needs: 'sse4.1' },
  pinsrq: { prefix: [0x66], opcode: [0x3a, 0x22], size: 8, w: true, immediate: true, needs: 'sse4.1' },
};

for (const [name, { prefix, opcode, size, w, forms, align, needs, immediate }] of Object.entries(MOVES)) {
  test(name, (t) => {
    check(
      t,
      { prefix, opcode: [0x0f, ...opcode], ...(w ? { w } : {}) },
      {
        memorySize: size,
        ...(forms ? { forms } : {}),
        ...(align ? { align } : {}),
        ...(immediate ? { immediate: anyImmediate } : {}),
      },
      needs,
    );
  });
}

test('forms that do not exist are undefined', (t) => {
  const gpr = Array.from({ length: 16 }, () => BigInt(DATA));
  const codes = [
    [0x0f, 0x13, 0xc1],
    [0x0f, 0x17, 0xc1],
    [0x66, 0x0f, 0x12, 0xc1],
    [0x66, 0x0f, 0x16, 0xc1],
    [0x0f, 0x2b, 0xc1],
    [0x66, 0x0f, 0xe7, 0xc1],
    [0xf2, 0x0f, 0xf0, 0xc1],
    [0x66, 0x0f, 0xd7, 0x01],
    [0x66, 0x0f, 0xc5, 0x01, 0x00],
    [0x66, 0x0f, 0x71, 0xc1, 0x00],
    [0x66, 0x0f, 0x73, 0x11, 0x00],
    [0xf0, 0x66, 0x0f, 0xef, 0xc1],
  ];
  compareWithProcessor(
    t,
    codes.map((code) => instructionCase({ code: Uint8Array.from(code), gpr })),
  );
});

test('vector instructions say that the extended state changed, and mark SSE as in use', (t) => {
  const { cpu } = new Stage(about);
  const outcome = completeInstruction(Uint8Array.of(0x66, 0x0f, 0x76, 0xc0), cpu);
  t.like(outcome, { kind: 'completed', dirty: 3 });
  t.is(cpu.view.getUint32(512, true) & 2, 2);
  t.is(cpu.view.getUint32(160, true), 0xffff_ffff);
});

test('vector instructions without CR4.OSFXSR, with CR0.EM, with CR0.TS', (t) => {
  const { cpu } = new Stage(about);
  const pxor = Uint8Array.of(0x66, 0x0f, 0xef, 0xc1);
  const { cr0, cr4 } = cpu;
  cpu.cr4 = cr4 & ~0x200;
  t.like(completeInstruction(pxor, cpu), { kind: 'exception', vector: 6 });
  cpu.cr4 = cr4;
  cpu.cr0 = cr0 | 4;
  t.like(completeInstruction(pxor, cpu), { kind: 'exception', vector: 6 });
  cpu.cr0 = cr0 | 8;
  t.like(completeInstruction(pxor, cpu), { kind: 'exception', vector: 7 });
});
