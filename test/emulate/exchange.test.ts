import test from 'ava';
import { HalvesExchange } from '../../lib/emulate/exchange.ts';
import { compareWithProcessor, Stage } from './support/compare.ts';
import { encode, instructionCase, memoryOperand, randomState } from './support/encode.ts';
import { CODE, DATA, DATA_SIZE, type InstructionCase, READ_ONLY, runNatively } from './support/native.ts';
import { Random } from './support/random.ts';

const OPCODE = { opcode: [0x0f, 0xc7], w: true };

function casesAt(seed: number, count: number, pick: (random: Random) => number): InstructionCase[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const state = randomState(random);
    const target = pick(random);
    const rm = memoryOperand(random, target, state);
    const memory = random.bytes(16);
    if (random.below(2) === 0) {
      const view = new DataView(memory.buffer);
      view.setBigUint64(0, state.gpr[0]!, true);
      view.setBigUint64(8, random.below(4) === 0 ? random.uniform64() : state.gpr[2]!, true);
    }
    const lock = random.below(2) === 0 ? [0xf0] : [];
    const code = encode({ ...OPCODE, prefix: lock }, { reg: 1, rm }, CODE);
    const reachable = target < READ_ONLY && target + 16 <= DATA + DATA_SIZE;
    return instructionCase({
      ...state,
      code,
      memoryAddress: reachable ? target : DATA,
      memory: reachable ? memory : new Uint8Array(0),
    });
  });
}

test('cmpxchg16b exchanges where the values are equal, and else tells what it found', (t) => {
  const cases = casesAt(1, 600, (random) => DATA + random.below(DATA_SIZE / 16) * 16);
  const results = runNatively(cases).results;
  t.true(results.some((result) => (result.rflags & 0x40) !== 0));
  t.true(results.some((result) => (result.rflags & 0x40) === 0));
  compareWithProcessor(t, cases);
});

test('a misaligned operand is #GP(0), also where it would be #PF, and relative to the stack', (t) => {
  compareWithProcessor(
    t,
    casesAt(2, 100, (random) => DATA + random.below(DATA_SIZE + 64)),
  );
});

test('a page that is not there, or cannot be written, is #PF with the error code of a write', (t) => {
  const cases = casesAt(3, 100, (random) => random.pick([DATA + DATA_SIZE, READ_ONLY, READ_ONLY + 0x100]));
  t.true(runNatively(cases).results.every(({ vector, errorCode }) => vector === 14 && (errorCode & 2) !== 0));
  compareWithProcessor(t, cases);
});

test('an address that is not canonical is #GP(0), relative to the stack #SS(0)', (t) => {
  const gpr = Array.from({ length: 16 }, () => 0x8000_0000_0000_0000n);
  const codes = [
    [0x48, 0x0f, 0xc7, 0x0b], // [rbx]
    [0x48, 0x0f, 0xc7, 0x4d, 0x00], // [rbp]
    [0x48, 0x0f, 0xc7, 0x0c, 0x24], // [rsp]
    [0x49, 0x0f, 0xc7, 0x4d, 0x00], // [r13]
    [0x36, 0x48, 0x0f, 0xc7, 0x0b], // ss:[rbx]
    [0x3e, 0x48, 0x0f, 0xc7, 0x0c, 0x24], // ds:[rsp]
    [0x64, 0x48, 0x0f, 0xc7, 0x0c, 0x24], // fs:[rsp]
  ];
  compareWithProcessor(
    t,
    codes.map((code) => instructionCase({ code: Uint8Array.from(code), gpr })),
  );
});

test('LOCK reaches the exchange', (t) => {
  const stage = new Stage(runNatively([]).about);
  for (const lock of [true, false]) {
    const code = Uint8Array.from([...(lock ? [0xf0] : []), 0x48, 0x0f, 0xc7, 0x0b]);
    const gpr = Array.from({ length: 16 }, () => BigInt(DATA));
    t.is(stage.run(instructionCase({ code, gpr })).vector, 1);
    t.is(stage.cpu.locked, lock);
  }
});

test('an exchange in halves that loses the second puts the first back', (t) => {
  const buffer = new SharedArrayBuffer(32);
  const quads = new BigUint64Array(buffer);
  const exchange = new HalvesExchange(buffer);
  quads.set([1n, 2n], 2);
  const expected = BigUint64Array.of(1n, 3n);
  t.false(exchange.exchange(16, expected, BigUint64Array.of(7n, 8n)));
  t.deepEqual([...expected], [1n, 2n]);
  t.deepEqual([...quads], [0n, 0n, 1n, 2n]);
  t.true(exchange.exchange(16, expected, BigUint64Array.of(7n, 8n)));
  t.deepEqual([...quads], [0n, 0n, 7n, 8n]);
});
