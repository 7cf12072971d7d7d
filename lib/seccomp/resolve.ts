import type { JsonPath } from '../config/json.ts';
import { nearest } from '../config/nearest.ts';
import type { PathProblem } from '../config/problems.ts';
import { profileConstants } from './constants.ts';
import {
  type Action,
  type Condition,
  FEATURES,
  type Feature,
  type Operand,
  type Operator,
  type Profile,
  type Rule,
  START_VALUES,
  THREAD_KINDS,
  type ThreadKind,
} from './profile.ts';
import type { ActionFile, ConditionFile, OperandFile, ProfileFile, RuleFile } from './schema.ts';
import { SYSTEM_CALLS, systemCallNumber } from './syscalls.ts';

const PLAIN_ACTIONS = ['allow', 'trap', 'kill_thread', 'kill_process', 'log'] as const;
const NUMBERED_ACTIONS = ['errno', 'trace'] as const;
const PLAIN_OPERATORS = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const;

/** What a profile's texts and numbers mean, and everything in it that means nothing. */
export interface Resolution {
  readonly profile: Profile;
  readonly problems: readonly PathProblem[];
}

/**
 * Turns a profile whose shape is right into numbers.
 * @param thread whose it is; undefined: of any, for a look at a single profile
 * @param path where it is in its file
 */
export function resolveProfile(file: ProfileFile, thread: ThreadKind | undefined, path: JsonPath): Resolution {
  const problems: PathProblem[] = [];
  const resolver = new Resolver(problems, thread);
  const defaultAction = resolver.action(file.default_action, [...path, 'default_action']);
  const filterAction = resolver.action(file.filter_action, [...path, 'filter_action']);
  if (problems.length === 0 && JSON.stringify(defaultAction) === JSON.stringify(filterAction)) {
    problems.push({
      path: [...path, 'filter_action'],
      message: 'is the same as default_action: the rules would change nothing',
    });
  }
  const rules = file.filter.map((rule, index) => resolver.rule(rule, [...path, 'filter', index]));
  return { profile: { thread: thread ?? 'main', defaultAction, filterAction, rules }, problems };
}

class Resolver {
  readonly #problems: PathProblem[];
  readonly #startValues: readonly string[];

  constructor(problems: PathProblem[], thread: ThreadKind | undefined) {
    this.#problems = problems;
    this.#startValues =
      thread === undefined ? THREAD_KINDS.flatMap((kind) => START_VALUES[kind]) : START_VALUES[thread];
  }

  action(action: ActionFile, path: JsonPath): Action {
    if (typeof action !== 'string') {
      const given = NUMBERED_ACTIONS.filter((kind) => action[kind] !== undefined);
      if (given.length !== 1) this.#report(path, 'must have one of "errno" and "trace"');
      const kind = given[0] ?? 'errno';
      const number = action[kind] ?? 0;
      return { kind, number: typeof number === 'string' ? this.#errno(number, [...path, kind]) : number };
    }
    const kind = PLAIN_ACTIONS.find((name) => name === action);
    if (kind !== undefined) return { kind };
    const numbered = NUMBERED_ACTIONS.find((name) => action.startsWith(name));
    if (numbered !== undefined) {
      this.#report(path, `${JSON.stringify(action)} needs a number`, `write it as {"${numbered}": 1}`);
    } else {
      const names = [...PLAIN_ACTIONS, ...NUMBERED_ACTIONS];
      this.#report(path, `unknown action ${JSON.stringify(action)}`, suggest(action, names));
    }
    return { kind: 'kill_process' };
  }

  rule(rule: RuleFile, path: JsonPath): Rule {
    const number = systemCallNumber(rule.syscall);
    if (number === undefined) {
      const message = `unknown system call ${JSON.stringify(rule.syscall)}`;
      this.#report([...path, 'syscall'], message, suggest(rule.syscall, [...SYSTEM_CALLS.keys()], 'see syscalls(2)'));
    }
    const conditions = (rule.args ?? []).map((one, index) => this.#condition(one, [...path, 'args', index]));
    const when = (rule.when ?? []).map((name, index) => {
      const feature = FEATURES.find((known) => known === name);
      if (feature === undefined) {
        this.#report([...path, 'when', index], `unknown part ${JSON.stringify(name)}`, suggest(name, FEATURES));
      }
      return feature as Feature;
    });
    const action = rule.action ? this.action(rule.action, [...path, 'action']) : undefined;
    return { name: rule.syscall, number: number ?? -1, conditions, when, action };
  }

  #errno(name: string, path: JsonPath): number {
    const number = profileConstants().get(name);
    if (number !== undefined && /^E[A-Z0-9]+$/.test(name)) return number;
    const errors = [...profileConstants().keys()].filter((known) => /^E[A-Z0-9]+$/.test(known));
    this.#report(path, `unknown error ${JSON.stringify(name)}`, suggest(name, errors, 'give its number'));
    return 0;
  }

  #condition({ index, type, op, val }: ConditionFile, path: JsonPath): Condition {
    const value = this.#operand(val, type, [...path, 'val']);
    if (typeof op !== 'string') {
      const operand = this.#operand(op.masked_eq, type, [...path, 'op', 'masked_eq']);
      if ('low' in operand) return { index, type, op: 'masked_eq', value, mask: operand };
      this.#report([...path, 'op', 'masked_eq'], 'a mask cannot be known only at start', 'give a number or a constant');
      return { index, type, op: 'masked_eq', value, mask: undefined };
    }
    const operator = PLAIN_OPERATORS.find((name) => name === op);
    if (operator === undefined) {
      const hint = op.startsWith('masked_eq')
        ? 'write it as {"masked_eq": MASK}'
        : suggest(op, [...PLAIN_OPERATORS, 'masked_eq']);
      this.#report([...path, 'op'], `unknown operator ${JSON.stringify(op)}`, hint);
    }
    return { index, type, op: operator ?? ('eq' satisfies Operator), value, mask: undefined };
  }

  #operand(value: OperandFile, type: 'dword' | 'qword', path: JsonPath): Operand {
    if (typeof value === 'string' && value.startsWith('$')) {
      const name = value.slice(1);
      if (!this.#startValues.includes(name)) {
        const names = this.#startValues.map((known) => `$${known}`);
        this.#report(path, `unknown value ${JSON.stringify(value)}`, suggest(value, names));
      }
      return { text: value, startValue: name };
    }
    const number = typeof value === 'string' ? this.#number(value, path) : this.#plainNumber(value, path);
    const wrapped = BigInt.asUintN(type === 'dword' ? 32 : 64, number);
    if (number !== wrapped && !(number < 0n && BigInt.asIntN(type === 'dword' ? 32 : 64, number) === number)) {
      const hint = type === 'dword' && number < 1n << 64n ? 'compare it as a qword' : undefined;
      this.#report(path, `${value} is too large for a ${type} of ${type === 'dword' ? 32 : 64} bits`, hint);
    }
    return {
      text: String(value),
      low: Number(wrapped & 0xffff_ffffn),
      high: Number(wrapped >> 32n),
    };
  }

  #plainNumber(value: number, path: JsonPath): bigint {
    if (Number.isSafeInteger(value) && value >= 0) return BigInt(value);
    const message = `must be a whole number from 0 to 2⁵³ − 1, not ${value}`;
    this.#report(path, message, value > 0 ? 'write a larger one as a text: "0x…"' : undefined);
    return 0n;
  }

  /** `NAME`, `0x…`, or several of them joined by `|`. */
  #number(text: string, path: JsonPath): bigint {
    let sum = 0n;
    for (const part of text.split('|').map((name) => name.trim())) {
      const constant = /^0x[0-9a-f]+$/i.test(part) ? BigInt(part) : profileConstants().get(part);
      if (constant === undefined) {
        const known = [...profileConstants().keys()];
        this.#report(path, `unknown constant ${JSON.stringify(part)}`, suggest(part, known, 'give its number'));
      }
      sum |= BigInt(constant ?? 0);
    }
    return sum;
  }

  #report(path: JsonPath, message: string, hint?: string): void {
    this.#problems.push(hint === undefined ? { path, message } : { path, message, hint });
  }
}

/** The name that was meant, or all of them where they are few. */
function suggest(word: string, names: readonly string[], otherwise?: string): string {
  const near = nearest(word, names);
  if (near !== undefined) return `did you mean ${JSON.stringify(near)}?`;
  return otherwise ?? (names.length === 0 ? 'this thread has none' : `known are ${names.join(', ')}`);
}
