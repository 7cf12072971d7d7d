import test from 'ava';
import { compareWithProcessor } from './support/compare.ts';
import { instructionCase } from './support/encode.ts';
import { lacks } from './support/features.ts';
import { generalCases } from './support/general.ts';
import { aboutProcessor } from './support/native.ts';

const about = aboutProcessor();

const WIDTHS = [
  [2, [0x66], false],
  [4, [], false],
  [8, [], true],
] as const;

for (const [name, opcode] of [
  ['load', 0xf0],
  ['store', 0xf1],
] as const) {
  test(`movbe, ${name}`, (t) => {
    if (lacks(t, about, 'movbe')) return;
    for (const [size, prefix, w] of WIDTHS) {
      const encoding = { prefix, opcode: [0x0f, 0x38, opcode], w };
      compareWithProcessor(t, generalCases(encoding, { seed: size, memorySize: size, forms: 'memory' }));
    }
  });
}

test('movbe in 32-bit code', (t) => {
  if (lacks(t, about, 'movbe')) return;
  const encoding = { opcode: [0x0f, 0x38, 0xf1] };
  compareWithProcessor(t, generalCases(encoding, { seed: 1, memorySize: 4, forms: 'memory', mode: 32 }));
});

test('movbe between registers is undefined', (t) => {
  if (lacks(t, about, 'movbe')) return;
  compareWithProcessor(t, [instructionCase({ code: Uint8Array.of(0x0f, 0x38, 0xf0, 0xc1) })]);
});

test('crc32 of a byte', (t) => {
  if (lacks(t, about, 'sse4.2')) return;
  const encoding = { prefix: [0xf2], opcode: [0x0f, 0x38, 0xf0] };
  compareWithProcessor(t, [
    ...generalCases(encoding, { seed: 1, memorySize: 1 }),
    ...generalCases({ ...encoding, w: true }, { seed: 2, memorySize: 1 }),
  ]);
});

test('crc32 of 2, 4 and 8 bytes', (t) => {
  if (lacks(t, about, 'sse4.2')) return;
  for (const [size, prefix, w] of WIDTHS) {
    const encoding = { prefix: [...prefix, 0xf2], opcode: [0x0f, 0x38, 0xf1], w };
    compareWithProcessor(t, generalCases(encoding, { seed: size, memorySize: size }));
  }
});

test('crc32 in 32-bit code', (t) => {
  if (lacks(t, about, 'sse4.2')) return;
  const encoding = { prefix: [0xf2], opcode: [0x0f, 0x38, 0xf1] };
  compareWithProcessor(t, generalCases(encoding, { seed: 1, memorySize: 4, mode: 32 }));
});
