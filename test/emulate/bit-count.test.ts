import test from 'ava';
import { Flag } from '../../lib/emulate/registers.ts';
import { compareWithProcessor } from './support/compare.ts';
import { lacks } from './support/features.ts';
import { generalCases } from './support/general.ts';
import { aboutProcessor } from './support/native.ts';

const about = aboutProcessor();

for (const [name, feature, opcode, undefinedFlags] of [
  ['popcnt', 'popcnt', 0xb8, 0],
  ['tzcnt', 'bmi1', 0xbc, Flag.OF | Flag.SF | Flag.PF | Flag.AF],
  ['lzcnt', 'lzcnt', 0xbd, Flag.OF | Flag.SF | Flag.PF | Flag.AF],
] as const) {
  for (const [size, prefix, w] of [
    [2, [0x66, 0xf3], false],
    [4, [0xf3], false],
    [8, [0xf3], true],
  ] as const) {
    test(`${name}, ${size * 8} bits`, (t) => {
      if (lacks(t, about, feature)) return;
      const encoding = { prefix, opcode: [0x0f, opcode], w };
      compareWithProcessor(t, generalCases(encoding, { seed: opcode + size, memorySize: size }), { undefinedFlags });
    });
  }

  test(`${name} in 32-bit code`, (t) => {
    if (lacks(t, about, feature)) return;
    const encoding = { prefix: [0xf3], opcode: [0x0f, opcode] };
    const cases = generalCases(encoding, { seed: opcode, memorySize: 4, mode: 32 });
    compareWithProcessor(t, cases, { undefinedFlags });
  });
}
