import type * as v from 'valibot';
import { type JsonPath, toPointer } from './json.ts';
import { nearest } from './nearest.ts';
import type { PathProblem } from './problems.ts';
import { isObjectShape, type SchemaShape, shapeFor } from './schema-shape.ts';

/** Says, for each of a schema's complaints, what is wrong and what may have been meant; at most one problem for each place. */
export function explain(schema: SchemaShape, input: unknown, issues: readonly v.BaseIssue<unknown>[]): PathProblem[] {
  const problems: PathProblem[] = [];
  findUnknownKeys(schema, input, [], problems, shapeFor(schema, {}).entries ?? {});
  const seen = problems.map((problem) => toPointer(problem.path));
  for (const issue of issues) {
    for (const problem of describeIssue(issue, [])) {
      const place = toPointer(problem.path);
      if (seen.some((known) => place === known || place.startsWith(`${known}/`))) continue;
      seen.push(place);
      problems.push(problem);
    }
  }
  return problems;
}

function findUnknownKeys(
  schema: SchemaShape,
  value: unknown,
  path: JsonPath,
  problems: PathProblem[],
  root: Readonly<Record<string, SchemaShape>>,
): void {
  if (typeof value !== 'object' || value === null) return;
  const shape = shapeFor(schema, value);
  if (Array.isArray(value)) {
    if (isObjectShape(shape)) problems.push({ path, message: 'must be an object, not an array' });
    if (shape.item === undefined) return;
    for (const [index, element] of value.entries())
      findUnknownKeys(shape.item, element, [...path, index], problems, root);
    return;
  }
  if (shape.entries === undefined) return;
  for (const [key, part] of Object.entries(value)) {
    const at = [...path, key];
    if (Object.hasOwn(shape.entries, key)) findUnknownKeys(shape.entries[key]!, part, at, problems, root);
    else
      problems.push({ path: at, atKey: true, message: 'unknown key', hint: hintFor(key, path, shape.entries, root) });
  }
}

/** What the user may have meant by an unknown key. */
function hintFor(
  key: string,
  path: JsonPath,
  known: Readonly<Record<string, SchemaShape>>,
  root: Readonly<Record<string, SchemaShape>>,
): string {
  const names = Object.keys(known);
  const near = nearest(key, names);
  if (near !== undefined) return `did you mean "${near}"?`;
  for (const [section, schema] of Object.entries(root)) {
    if (section === path[0]) continue;
    const entries = shapeFor(schema, {}).entries;
    if (entries !== undefined && Object.hasOwn(entries, key)) return `it belongs in "${section}"`;
  }
  if (path.length > 0 && Object.hasOwn(root, key)) return 'it belongs at the top of the file';
  return `known keys are ${names.join(', ')}`;
}

type Issue = v.BaseIssue<unknown>;

function* describeIssue(issue: Issue, prefix: JsonPath): Generator<PathProblem> {
  const path = [...prefix, ...(issue.path ?? []).map((item) => item.key as string | number)];
  if (issue.kind === 'schema') {
    // Unknown keys were found by the walk above.
    if (issue.type === 'strict_object' && issue.expected === 'never') return;
    if (issue.type === 'union' && issue.issues !== undefined) {
      yield* describeUnion(issue, path);
      return;
    }
    if (issue.input === undefined) {
      yield { path, message: 'is missing', isMissing: true };
      return;
    }
    if (issue.type === 'picklist') {
      yield describePicklist(issue, path);
      return;
    }
    yield { path, message: `must be ${typeName(issue.type)}, not ${show(issue.input)}` };
    return;
  }
  const requirement = (issue as { requirement?: unknown }).requirement;
  switch (issue.type) {
    case 'integer':
      yield { path, message: `must be a whole number, not ${show(issue.input)}` };
      return;
    case 'min_value':
      yield { path, message: `must be at least ${String(requirement)}, not ${show(issue.input)}` };
      return;
    case 'max_value':
      yield { path, message: `must be at most ${String(requirement)}, not ${show(issue.input)}` };
      return;
    case 'regex':
      yield { path, message: `${issue.message}, not ${show(issue.input)}` };
      return;
    default:
      yield { path, message: issue.message };
  }
}

/** Of a union's branches, the one that the input's type chose. */
function* describeUnion(issue: Issue, path: JsonPath): Generator<PathProblem> {
  const nested = issue.issues ?? [];
  const chosen = nested.filter((sub) => (sub.path?.length ?? 0) > 0 || sub.kind !== 'schema');
  if (chosen.length > 0) {
    for (const sub of chosen) yield* describeIssue(sub, path);
  } else if (typeof issue.input !== 'object' || issue.input === null || Array.isArray(issue.input)) {
    const types = nested.map((sub) => typeName(sub.type));
    yield { path, message: `must be ${[...new Set(types)].join(' or ')}, not ${show(issue.input)}` };
  }
}

function describePicklist(issue: Issue, path: JsonPath): PathProblem {
  const options = (issue as unknown as { requirement?: unknown }).requirement ?? parseExpected(issue.expected);
  const names = options as string[];
  const message = `must be ${orList(names.map((name) => JSON.stringify(name)))}, not ${show(issue.input)}`;
  const near = typeof issue.input === 'string' ? nearest(issue.input, names) : undefined;
  return near === undefined ? { path, message } : { path, message, hint: `did you mean "${near}"?` };
}

/** valibot writes a picklist's options as `("a" | "b")`. */
function parseExpected(expected: string | null): string[] {
  return [...(expected ?? '').matchAll(/"([^"]*)"/g)].map((match) => match[1]!);
}

function orList(items: readonly string[]): string {
  return items.length < 2 ? items.join('') : `${items.slice(0, -1).join(', ')} or ${items.at(-1)}`;
}

function typeName(type: string): string {
  switch (type) {
    case 'strict_object':
    case 'record':
      return 'an object';
    case 'array':
      return 'an array';
    case 'number':
      return 'a number';
    case 'boolean':
      return 'true or false';
    default:
      return `a ${type}`;
  }
}

/** A value as JSON, short enough for a line. */
function show(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  const json = JSON.stringify(value) ?? String(value);
  return json.length <= 60 ? json : `${json.slice(0, 57)}…"`;
}
