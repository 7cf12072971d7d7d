import { ConfigError } from '../errors.ts';
import { Assembler, type Label } from './assembler.ts';
import {
  AUDIT_ARCH_X86_64,
  BPF_JEQ,
  BPF_JGE,
  BPF_JGT,
  BPF_MAXINSNS,
  encodeProgram,
  type Instruction,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_KILL_THREAD,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_TRAP,
  SeccompData,
  X32_SYSCALL_BIT,
} from './bpf.ts';
import { type Action, type Condition, type Operand, type Profile, type Rule, threadNumber } from './profile.ts';

/** What a filter is compiled for. */
export interface CompileOptions {
  /** The values that are known at start, by name without `$`: unsigned; a number must be exact. */
  readonly values: Readonly<Record<string, number | bigint>>;
  /** The parts that the machine has: rules with `when` are left out unless one of theirs is here. */
  readonly features: ReadonlySet<string>;
}

/** A program, and for each instruction what its constant stands for, or nothing. */
export interface Listing {
  readonly instructions: readonly Instruction[];
  readonly notes: readonly string[];
}

/**
 * Compiles a profile to a seccomp filter.
 * @returns `struct sock_filter[]`
 * @throws ConfigError where the filter is longer than the kernel takes; RangeError where a value is missing or does not fit
 */
export function compileProfile(profile: Profile, options: CompileOptions): Uint8Array<ArrayBuffer> {
  return encodeProgram(compileListing(profile, options).instructions);
}

/** As `compileProfile`, with notes for a reader. */
export function compileListing(profile: Profile, { values, features }: CompileOptions): Listing {
  const program = new Assembler();
  const otherwise = program.return(returnValue(profile.defaultAction, profile));
  program.return(returnValue(profile.filterAction, profile));
  const calls = groupByCall(profile.rules.filter(({ when }) => when.length === 0 || when.some((f) => features.has(f))));
  const entries = calls.map(({ number, name, rules }) => {
    const entry = rules.reduceRight((next, rule) => {
      const matched = program.return(returnValue(rule.action ?? profile.filterAction, profile));
      return compileRule(program, rule, values, matched, next);
    }, otherwise);
    return { number, name, entry };
  });
  const search = compileSearch(program, entries, otherwise);
  const foreign = stops(profile.defaultAction) ? otherwise : program.return(SECCOMP_RET_KILL_PROCESS);
  const x32 = program.jump(BPF_JGE, X32_SYSCALL_BIT, foreign, search, 'x32');
  const number = program.load(SeccompData.NR, x32);
  const architecture = program.jump(BPF_JEQ, AUDIT_ARCH_X86_64, number, foreign, 'AUDIT_ARCH_X86_64');
  program.load(SeccompData.ARCH, architecture);
  if (program.length > BPF_MAXINSNS) {
    throw new ConfigError(
      `the seccomp filter of ${profile.thread} has ${program.length} instructions, the kernel takes ${BPF_MAXINSNS}`,
      { hint: 'give fewer rules' },
    );
  }
  return program.finish();
}

function returnValue(action: Action, { thread }: Profile): number {
  switch (action.kind) {
    case 'allow':
      return SECCOMP_RET_ALLOW;
    case 'log':
      return SECCOMP_RET_LOG;
    case 'trap':
      return SECCOMP_RET_TRAP | threadNumber(thread);
    case 'kill_thread':
      return SECCOMP_RET_KILL_THREAD;
    case 'kill_process':
      return SECCOMP_RET_KILL_PROCESS;
    case 'errno':
      return SECCOMP_RET_ERRNO | action.number;
    case 'trace':
      return SECCOMP_RET_TRACE | action.number;
  }
}

/** Whether no call gets through: then it will do for calls of other architectures, whose numbers mean nothing here. */
function stops({ kind }: Action): boolean {
  return kind === 'trap' || kind === 'kill_process' || kind === 'kill_thread';
}

interface Call {
  readonly number: number;
  readonly name: string;
  readonly rules: Rule[];
}

/** In the order of their numbers. Behind a rule that matches whatever the arguments, others say nothing; nor do those before it that do the same. */
function groupByCall(rules: readonly Rule[]): Call[] {
  const calls = new Map<number, Call>();
  for (const rule of rules) {
    const call = calls.get(rule.number);
    if (call === undefined) calls.set(rule.number, { number: rule.number, name: rule.name, rules: [rule] });
    else if (call.rules.at(-1)!.conditions.length > 0) {
      while (rule.conditions.length === 0 && call.rules.length > 0 && call.rules.at(-1)!.action === rule.action)
        call.rules.pop();
      call.rules.push(rule);
    }
  }
  return [...calls.values()].sort((a, b) => a.number - b.number);
}

/**
 * A balanced binary search for the call's number: eight comparisons among 100 calls. What the search itself decides (calls without
 * conditions) the kernel finds out once, when the filter is installed, and does not run the filter for: it follows comparisons of number and
 * architecture only (`seccomp_is_const_allow`).
 */
function compileSearch(
  program: Assembler,
  calls: readonly { readonly number: number; readonly name: string; readonly entry: Label }[],
  otherwise: Label,
): Label {
  const [first] = calls;
  if (first === undefined) return otherwise;
  if (calls.length === 1) return program.jump(BPF_JEQ, first.number, first.entry, otherwise, first.name);
  const middle = calls.length >> 1;
  const above = compileSearch(program, calls.slice(middle), otherwise);
  const below = compileSearch(program, calls.slice(0, middle), otherwise);
  return program.jump(BPF_JGE, calls[middle]!.number, above, below, calls[middle]!.name);
}

function compileRule(
  program: Assembler,
  { conditions }: Rule,
  values: CompileOptions['values'],
  matched: Label,
  otherwise: Label,
): Label {
  return conditions.reduceRight(
    (next, condition) => compileCondition(program, condition, values, next, otherwise),
    matched,
  );
}

/** One comparison: goes on at `pass` where it holds, else at `fail`. BPF has words of 32 bits: a qword takes two looks. */
function compileCondition(
  program: Assembler,
  { index, type, op, value, mask }: Condition,
  values: CompileOptions['values'],
  pass: Label,
  fail: Label,
): Label {
  const low = SeccompData.ARGS + index * 8;
  const note = value.text;
  const word = halves(value, values, type);
  // ne, lt and le are eq, ge and gt with the outcomes exchanged.
  const [test, yes, no] = TESTS[op](pass, fail);
  if (op === 'masked_eq') {
    const bits = mask as { readonly text: string; readonly low: number; readonly high: number };
    const maskedHalf = (offset: number, halfMask: number, half: number, next: Label): Label =>
      program.load(
        offset,
        program.and(halfMask, program.jump(BPF_JEQ, (half & halfMask) >>> 0, next, fail, note), bits.text),
      );
    // A half that has no bit of the mask is not looked at.
    const lower = bits.low === 0 && bits.high !== 0 ? pass : maskedHalf(low, bits.low, word.low, pass);
    return type === 'dword' || bits.high === 0 ? lower : maskedHalf(low + 4, bits.high, word.high, lower);
  }
  const lower = program.load(low, program.jump(test, word.low, yes, no, note));
  if (type === 'dword') return lower;
  const equal = program.jump(BPF_JEQ, word.high, lower, no, note);
  const upper = test === BPF_JEQ ? equal : program.jump(BPF_JGT, word.high, yes, equal, note);
  return program.load(low + 4, upper);
}

type Test = (pass: Label, fail: Label) => readonly [test: number, yes: Label, no: Label];
const TESTS: Readonly<Record<Condition['op'], Test>> = {
  eq: (pass, fail) => [BPF_JEQ, pass, fail],
  masked_eq: (pass, fail) => [BPF_JEQ, pass, fail],
  ne: (pass, fail) => [BPF_JEQ, fail, pass],
  gt: (pass, fail) => [BPF_JGT, pass, fail],
  le: (pass, fail) => [BPF_JGT, fail, pass],
  ge: (pass, fail) => [BPF_JGE, pass, fail],
  lt: (pass, fail) => [BPF_JGE, fail, pass],
};

const TWO_32 = 0x1_0000_0000;

function halves(
  operand: Operand,
  values: CompileOptions['values'],
  type: 'dword' | 'qword',
): { readonly low: number; readonly high: number } {
  if ('low' in operand) return operand;
  const value = values[operand.startValue];
  if (value === undefined) throw new RangeError(`no value was given for $${operand.startValue}`);
  const number = BigInt(value);
  if (number !== BigInt.asUintN(type === 'dword' ? 32 : 64, number) || !isExact(value)) {
    throw new RangeError(`$${operand.startValue} is ${value}, which is no ${type}`);
  }
  if (typeof value === 'number') return { low: value % TWO_32, high: Math.floor(value / TWO_32) };
  return { low: Number(value & 0xffff_ffffn), high: Number(value >> 32n) };
}

function isExact(value: number | bigint): boolean {
  return typeof value === 'bigint' || Number.isSafeInteger(value);
}
