import test from 'ava';
import { Flag } from '../../lib/emulate/registers.ts';
import { compareWithProcessor } from './support/compare.ts';
import { type Encoding, encode, instructionCase } from './support/encode.ts';
import { lacks } from './support/features.ts';
import { type GeneralOptions, generalCases } from './support/general.ts';
import { aboutProcessor, CODE } from './support/native.ts';

const about = aboutProcessor();

const VEX_38 = 2;
const VEX_3A = 3;

interface Member {
  readonly name: string;
  readonly vex: { readonly map: number; readonly pp: number };
  readonly opcode: number;
  readonly extension?: number;
  readonly undefinedFlags?: number;
  readonly immediate?: GeneralOptions['immediate'];
}

/** The others are BMI2. */
const BMI1 = ['andn', 'blsr', 'blsmsk', 'blsi', 'bextr'];

const MEMBERS: readonly Member[] = [
  { name: 'andn', vex: { map: VEX_38, pp: 0 }, opcode: 0xf2, undefinedFlags: Flag.AF | Flag.PF },
  { name: 'blsr', vex: { map: VEX_38, pp: 0 }, opcode: 0xf3, extension: 1, undefinedFlags: Flag.AF | Flag.PF },
  { name: 'blsmsk', vex: { map: VEX_38, pp: 0 }, opcode: 0xf3, extension: 2, undefinedFlags: Flag.AF | Flag.PF },
  { name: 'blsi', vex: { map: VEX_38, pp: 0 }, opcode: 0xf3, extension: 3, undefinedFlags: Flag.AF | Flag.PF },
  { name: 'bextr', vex: { map: VEX_38, pp: 0 }, opcode: 0xf7, undefinedFlags: Flag.AF | Flag.SF | Flag.PF },
  { name: 'bzhi', vex: { map: VEX_38, pp: 0 }, opcode: 0xf5, undefinedFlags: Flag.AF | Flag.PF },
  { name: 'shlx', vex: { map: VEX_38, pp: 1 }, opcode: 0xf7 },
  { name: 'sarx', vex: { map: VEX_38, pp: 2 }, opcode: 0xf7 },
  { name: 'shrx', vex: { map: VEX_38, pp: 3 }, opcode: 0xf7 },
  { name: 'pdep', vex: { map: VEX_38, pp: 3 }, opcode: 0xf5 },
  { name: 'pext', vex: { map: VEX_38, pp: 2 }, opcode: 0xf5 },
  { name: 'mulx', vex: { map: VEX_38, pp: 3 }, opcode: 0xf6 },
  { name: 'rorx', vex: { map: VEX_3A, pp: 3 }, opcode: 0xf0, immediate: (random) => [random.below(256)] },
];

for (const { name, vex, opcode, extension, undefinedFlags = 0, immediate } of MEMBERS) {
  test(name, (t) => {
    if (lacks(t, about, BMI1.includes(name) ? 'bmi1' : 'bmi2')) return;
    const options = { ...(extension === undefined ? {} : { extension }), ...(immediate ? { immediate } : {}) };
    const adjust: GeneralOptions['adjust'] = (random, state) => {
      // Start, length and index operands small enough to matter.
      if (random.below(2) === 0) state.gpr = state.gpr.map((value) => value & 0x3f3fn);
    };
    const cases = [
      ...generalCases({ vex, opcode: [opcode], w: true }, { ...options, seed: opcode, memorySize: 8 }),
      ...generalCases({ vex, opcode: [opcode] }, { ...options, seed: opcode + 1, memorySize: 4 }),
      ...generalCases({ vex, opcode: [opcode] }, { ...options, seed: opcode + 2, memorySize: 4, mode: 32 }),
      ...generalCases({ vex, opcode: [opcode], w: true }, { ...options, adjust, seed: opcode + 3, memorySize: 8 }),
    ];
    // A three-operand instruction encodes its unused VEX.vvvv as 0.
    const usable = name === 'rorx' ? cases.filter(({ code }) => vexRegisterOf(code) === 0) : cases;
    t.true(usable.length > 30);
    compareWithProcessor(t, usable, { undefinedFlags });
  });
}

test('adcx and adox', (t) => {
  if (lacks(t, about, 'adx')) return;
  for (const prefix of [0x66, 0xf3]) {
    const opcode = [0x0f, 0x38, 0xf6];
    compareWithProcessor(t, [
      ...generalCases({ prefix: [prefix], opcode, w: true }, { seed: prefix, memorySize: 8 }),
      ...generalCases({ prefix: [prefix], opcode }, { seed: prefix + 1, memorySize: 4 }),
    ]);
  }
});

test('VEX.L = 1, an unused VEX.vvvv, a prefix before VEX, LOCK: invalid', (t) => {
  if (lacks(t, about, 'bmi1', 'bmi2')) return;
  const operands = { reg: 1, vvvv: 2, rm: { register: 3 } };
  const andn: Encoding = { vex: { map: VEX_38, pp: 0 }, opcode: [0xf2] };
  const valid = encode(andn, operands, CODE);
  const codes = [
    encode({ vex: { map: VEX_38, pp: 0, l: 1 }, opcode: [0xf2] }, operands, CODE),
    encode({ vex: { map: VEX_3A, pp: 3 }, opcode: [0xf0], immediate: [3] }, operands, CODE),
    encode({ vex: { map: VEX_38, pp: 0 }, opcode: [0xf3] }, { ...operands, reg: 0 }, CODE),
    encode({ vex: { map: VEX_38, pp: 0 }, opcode: [0xf3] }, { ...operands, reg: 4 }, CODE),
    ...[0x66, 0xf2, 0xf3, 0xf0, 0x48].map((prefix) => Uint8Array.from([prefix, ...valid])),
  ];
  compareWithProcessor(
    t,
    codes.map((code) => instructionCase({ code })),
  );
});

/** VEX.vvvv of an instruction that has a three-byte VEX prefix. */
function vexRegisterOf(code: Uint8Array): number {
  const at = code.indexOf(0xc4);
  return ~(code[at + 2]! >> 3) & 0xf;
}
