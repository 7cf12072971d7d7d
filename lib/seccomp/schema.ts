import * as v from 'valibot';
import { THREAD_KINDS } from './profile.ts';

/**
 * The format of a profile: Firecracker's filter of one thread (its `docs/seccompiler.md`). mvm's additions: a value or a mask may be a text, a
 * constant's name (`"AF_UNIX"`), several joined by `|`, a hexadecimal number, or `$` and the name of a value that is known at start;
 * `when` limits a rule to machines that have one of these parts; and a rule may have an `action` of its own, whose `errno` may be a name.
 * Names are resolved by `resolve.ts`.
 */
const action = v.union([
  v.string(),
  v.strictObject({ errno: v.optional(v.union([v.string(), whole(0, 4095)])), trace: v.optional(whole(0, 0xffff)) }),
]);
const operand = v.union([v.string(), v.number()]);
const comment = v.nullish(v.string());

const condition = v.strictObject({
  index: whole(0, 5),
  type: v.picklist(['dword', 'qword']),
  op: v.union([v.string(), v.strictObject({ masked_eq: operand })]),
  val: operand,
  comment,
});

const rule = v.strictObject({
  syscall: v.string(),
  args: v.nullish(v.array(condition)),
  when: v.nullish(v.array(v.string())),
  action: v.nullish(action),
  comment,
});

export const ProfileSchema = v.strictObject({
  default_action: action,
  filter_action: action,
  filter: v.array(rule),
  comment,
});

/** A file with the profiles of all threads: what `--seccomp-filter` takes. */
export const ProfilesSchema = v.strictObject({
  [THREAD_KINDS[0]]: ProfileSchema,
  [THREAD_KINDS[1]]: ProfileSchema,
  [THREAD_KINDS[2]]: ProfileSchema,
});

export type ProfileFile = v.InferOutput<typeof ProfileSchema>;
export type RuleFile = v.InferOutput<typeof rule>;
export type ConditionFile = v.InferOutput<typeof condition>;
export type ActionFile = v.InferOutput<typeof action>;
export type OperandFile = v.InferOutput<typeof operand>;

function whole(min: number, max: number) {
  return v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));
}
