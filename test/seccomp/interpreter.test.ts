import test from 'ava';
import fc from 'fast-check';
import {
  AUDIT_ARCH_X86_64,
  BPF_ABS,
  BPF_ALU,
  BPF_AND,
  BPF_JA,
  BPF_JEQ,
  BPF_JGE,
  BPF_JGT,
  BPF_JMP,
  BPF_K,
  BPF_LD,
  BPF_RET,
  BPF_W,
  encodeProgram,
  type Instruction,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRAP,
} from '../../lib/seccomp/bpf.ts';
import { callUnder, UNFILTERED } from '../helpers/seccomp/caller.ts';
import { outcomeOf } from '../helpers/seccomp/expected.ts';
import {
  BPF_A,
  BPF_ADD,
  BPF_IMM,
  BPF_JSET,
  BPF_LSH,
  BPF_MUL,
  BPF_NEG,
  BPF_OR,
  BPF_RSH,
  BPF_SUB,
  BPF_XOR,
  type CallData,
  interpret,
} from '../helpers/seccomp/interpreter.ts';

const word = fc.oneof(
  fc.constantFrom(0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, AUDIT_ARCH_X86_64),
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.integer({ min: 0, max: 500 }),
);
/** Of each action, but nothing that the guard of caller.c answers. */
const answer = fc
  .tuple(
    fc.constantFrom(SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO, SECCOMP_RET_ERRNO),
    fc.integer({ min: 0, max: 3999 }),
  )
  .map(([action, data]) => action + data);

const plain = (code: number, k: number): Instruction => ({ code, k, jt: 0, jf: 0 });
const load = fc.integer({ min: 0, max: 15 }).map((index) => plain(BPF_LD | BPF_W | BPF_ABS, index * 4));
const arithmetic = fc.oneof(
  fc
    .tuple(fc.constantFrom(BPF_ADD, BPF_SUB, BPF_MUL, BPF_AND, BPF_OR, BPF_XOR), word)
    .map(([operation, k]) => plain(BPF_ALU | operation | BPF_K, k)),
  fc
    .tuple(fc.constantFrom(BPF_LSH, BPF_RSH), fc.integer({ min: 0, max: 31 }))
    .map(([operation, k]) => plain(BPF_ALU | operation | BPF_K, k)),
  fc.constant(plain(BPF_ALU | BPF_NEG, 0)),
  word.map((k) => plain(BPF_LD | BPF_IMM, k)),
);
const end = answer.map((k) => plain(BPF_RET | BPF_K, k));

/** A jump's offsets come as shares of what lies ahead. */
const jump = fc.record({
  test: fc.constantFrom(BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET, BPF_JA),
  k: word,
  jt: fc.double({ min: 0, max: 0.999, noNaN: true }),
  jf: fc.double({ min: 0, max: 0.999, noNaN: true }),
});
type Part =
  | { readonly instruction: Instruction }
  | { readonly jump: { test: number; k: number; jt: number; jf: number } };
const part: fc.Arbitrary<Part> = fc.oneof(
  { weight: 4, arbitrary: load.map((instruction) => ({ instruction })) },
  { weight: 3, arbitrary: arithmetic.map((instruction) => ({ instruction })) },
  { weight: 4, arbitrary: jump.map((one) => ({ jump: one })) },
  { weight: 1, arbitrary: end.map((instruction) => ({ instruction })) },
);

/** Any program that the kernel takes: it ends with a return, and jumps stay inside. */
const programs = fc.tuple(fc.array(part, { maxLength: 80 }), end).map(([parts, last]) =>
  encodeProgram([
    ...parts.map((one, index): Instruction => {
      if ('instruction' in one) return one.instruction;
      const { test: kind, k, jt, jf } = one.jump;
      const ahead = parts.length - index;
      if (kind === BPF_JA) return plain(BPF_JMP | BPF_JA, Math.floor(jt * ahead));
      return { code: BPF_JMP | kind | BPF_K, k, jt: Math.floor(jt * ahead), jf: Math.floor(jf * ahead) };
    }),
    last,
  ]),
);

const requests = fc.record({
  number: word.filter((number) => !UNFILTERED.includes(number)),
  args: fc.array(
    fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      word.map((one) => BigInt(one)),
    ),
    { minLength: 6, maxLength: 6 },
  ),
});

test('the interpreter and the kernel agree on random programs and calls', (t) => {
  const kinds = new Map<string, number>();
  fc.assert(
    fc.property(programs, fc.array(requests, { minLength: 20, maxLength: 40 }), (program, calls) => {
      const { outcomes, instructionPointer } = callUnder(program, calls);
      for (const [index, { number, args }] of calls.entries()) {
        const call: CallData = { number, args, arch: AUDIT_ARCH_X86_64, instructionPointer };
        const expected = outcomeOf(interpret(program, call).value, call);
        kinds.set(expected.kind, (kinds.get(expected.kind) ?? 0) + 1);
        if (JSON.stringify(outcomes[index]) !== JSON.stringify(expected)) {
          throw new Error(
            `the kernel: ${JSON.stringify(outcomes[index])}, the interpreter: ${JSON.stringify(expected)}`,
          );
        }
      }
    }),
    { numRuns: 150, seed: 11, endOnFailure: true },
  );
  for (const kind of ['passed', 'errno', 'trapped']) t.true((kinds.get(kind) ?? 0) > 300, kind);
});

test('what a filter returns may be computed, and may kill', (t) => {
  const calls = [{ number: 39, args: [5n, 0n, 0n, 0n, 0n, 0n] }];
  for (const action of [SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, 0]) {
    const program = encodeProgram([
      plain(BPF_LD | BPF_W | BPF_ABS, 16),
      plain(BPF_ALU | BPF_OR | BPF_K, action),
      plain(BPF_RET | BPF_A, 0),
    ]);
    const call: CallData = { ...calls[0]!, arch: AUDIT_ARCH_X86_64, instructionPointer: 0n };
    t.deepEqual(callUnder(program, calls).outcomes, [outcomeOf(interpret(program, call).value, call)]);
  }
});

test('what the kernel refuses, the interpreter does not run', (t) => {
  const call: CallData = { number: 0, args: [0n, 0n, 0n, 0n, 0n, 0n], arch: 0, instructionPointer: 0n };
  for (const program of [
    encodeProgram([]),
    encodeProgram([plain(BPF_LD | BPF_W | BPF_ABS, 0)]),
    encodeProgram([plain(BPF_LD | BPF_W | BPF_ABS, 64), plain(BPF_RET | BPF_K, 0)]),
    encodeProgram([plain(BPF_LD | BPF_W | BPF_ABS, 2), plain(BPF_RET | BPF_K, 0)]),
    encodeProgram([plain(0x30, 0), plain(BPF_RET | BPF_K, 0)]),
    encodeProgram([plain(BPF_JMP | BPF_JA, 1), plain(BPF_RET | BPF_K, 0)]),
  ]) {
    t.throws(() => interpret(program, call));
    t.throws(() => callUnder(program, [{ number: 0 }]), { message: /the kernel refuses the filter/ });
  }
});
