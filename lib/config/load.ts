import { dirname, resolve } from 'node:path';
import { ConfigError } from '../errors.ts';
import { BUILT_SECTIONS, findUnbuilt, UNBUILT_KEYS } from './built.ts';
import { crossCheck } from './cross-checks.ts';
import {
  hasDuplicateKeys,
  JsonLocator,
  type JsonPath,
  JsonSyntaxError,
  parseJson,
  type TextPosition,
  toPointer,
} from './json.ts';
import { normaliseConfig } from './normalise.ts';
import { applyOverrides, type Overrides } from './overrides.ts';
import { ConfigProblems, type PathProblem, type Problem } from './problems.ts';
import { readText, STDIN } from './read-text.ts';
import type { FileConfig } from './schema.ts';
import type { CpuTemplateFile } from './schema-cpu.ts';
import type { VmConfig } from './types.ts';
import { validate, validateConfig } from './validate.ts';

export interface LoadOptions {
  /** The configuration file, `-` for standard input, or undefined where the options say everything. */
  readonly file?: string | undefined;
  readonly overrides?: Overrides;
  /** Of the instance: `--id`. */
  readonly id?: string | undefined;
  /** Where the options' relative paths begin. Default: the working directory. */
  readonly cwd?: string;
  /** What counts as built; for tests. */
  readonly built?: { readonly sections: Readonly<Record<string, boolean>>; readonly keys: typeof UNBUILT_KEYS };
}

/** What can be said of a configuration: every problem, and what remains without the parts that have one. */
export interface Inspection {
  readonly problems: readonly Problem[];
  /** Undefined where too little is left. Where there are problems, it is for further checks only, not to be run. */
  readonly config: VmConfig | undefined;
  /** `problems` and more that later checks found, in the order of the text. */
  readonly withMore: (found: readonly PathProblem[]) => Promise<Problem[]>;
}

/**
 * Reads, checks and completes a configuration.
 * @throws ConfigProblems with everything that is wrong
 */
export async function loadConfig(options: LoadOptions): Promise<VmConfig> {
  const { problems, config } = await inspectConfig(options);
  const [first, ...others] = problems;
  if (first !== undefined) throw new ConfigProblems([first, ...others]);
  return config!;
}

/** Like `loadConfig`, but returns the problems. */
export async function inspectConfig(options: LoadOptions): Promise<Inspection> {
  const cwd = options.cwd ?? process.cwd();
  const read = options.file === undefined ? NO_DOCUMENT() : await readDocument(options.file, cwd);
  if ('problem' in read) {
    return { problems: [read.problem], config: undefined, withMore: async () => [read.problem] };
  }
  const { source } = read;
  const optionProblems: Problem[] = [];
  const pathProblems: PathProblem[] = [];

  const { document } = read;
  let origins: ReadonlyMap<string, string> = new Map();
  if (isObject(document)) {
    const applied = applyOverrides(document, options.overrides ?? {}, cwd);
    origins = applied.origins;
    optionProblems.push(...applied.problems);
  }
  if (options.id !== undefined && !/^[A-Za-z0-9-]{1,64}$/.test(options.id)) {
    const message = `must be 1 to 64 letters, digits and "-", not ${JSON.stringify(options.id)}`;
    optionProblems.push({ kind: 'usage', where: '--id', message });
  }

  const validation = await validateConfig(document);
  const file = validation.value ?? (await prune(document, validation.problems));
  pathProblems.push(...validation.problems);
  pathProblems.push(
    ...findUnbuilt(document, options.built?.sections ?? BUILT_SECTIONS, options.built?.keys ?? UNBUILT_KEYS),
  );
  if (file !== undefined) pathProblems.push(...crossCheck(file));

  const places = new Places(source, origins);
  const located = await places.locateAll(pathProblems);
  if (read.hasRepeatedKeys) located.push(...(await places.repeatedKeys()));
  const problems = [...optionProblems, ...inOrder(located)];
  const baseDirectory = source?.baseDirectory ?? cwd;
  let cpuTemplate: CpuTemplateFile | undefined;
  if (typeof file?.['cpu-config'] === 'string' && problems.length === 0) {
    const template = await readCpuTemplate(file['cpu-config'], baseDirectory);
    problems.push(...template.problems);
    cpuTemplate = template.value;
  }
  return {
    problems,
    config: file === undefined ? undefined : normaliseConfig(file, baseDirectory, { id: options.id, cpuTemplate }),
    withMore: async (found) => [...optionProblems, ...inOrder([...located, ...(await places.locateAll(found))])],
  };
}

/** A file's text, how messages name it, and where its relative paths begin. */
interface Source {
  readonly text: string;
  readonly label: string;
  readonly baseDirectory: string;
}

interface Document {
  readonly document: unknown;
  readonly source: Source | undefined;
  readonly hasRepeatedKeys: boolean;
}

const NO_DOCUMENT = (): Document => ({ document: {}, source: undefined, hasRepeatedKeys: false });

async function readDocument(path: string, cwd: string): Promise<Document | { problem: Problem }> {
  const label = path === STDIN ? '<stdin>' : path;
  const absolute = path === STDIN ? STDIN : resolve(cwd, path);
  try {
    const { text, isRegular } = readText(absolute, label);
    const source = { text, label, baseDirectory: isRegular && path !== STDIN ? dirname(absolute) : cwd };
    const document = await parseJson(text);
    return { document, source, hasRepeatedKeys: hasDuplicateKeys(text, document) };
  } catch (error) {
    if (error instanceof JsonSyntaxError) {
      const { line, column } = error.position;
      const where = `${label}:${line}:${column}`;
      return { problem: { kind: 'config', where, message: `is not JSON: ${error.message}` } };
    }
    if (error instanceof ConfigError) return { problem: { kind: 'config', where: label, message: error.message } };
    throw error;
  }
}

/** A problem, and where it is in the file's text (0 where it is not in there). */
interface Located extends TextPosition {
  readonly problem: Problem;
}

/** In the order of the text, options first. */
function inOrder(located: readonly Located[]): Problem[] {
  return located.toSorted((a, b) => a.line - b.line || a.column - b.column).map(({ problem }) => problem);
}

/** Turns paths in the configuration into places that the user knows. */
class Places {
  readonly #source: Source | undefined;
  readonly #origins: ReadonlyMap<string, string>;
  #locator: JsonLocator | undefined;

  constructor(source: Source | undefined, origins: ReadonlyMap<string, string>) {
    this.#source = source;
    this.#origins = origins;
  }

  async #locatorOf(source: Source): Promise<JsonLocator> {
    this.#locator ??= await JsonLocator.create(source.text);
    return this.#locator;
  }

  async #whereIs(path: JsonPath, of: 'key' | 'value'): Promise<string> {
    const pointer = toPointer(path);
    const option = this.#origins.get(pointer);
    if (option !== undefined) return option;
    if (this.#source === undefined) return pointer;
    const { line, column } = (await this.#locatorOf(this.#source)).find(path, of);
    const place = `${this.#source.label}:${line}:${column}`;
    return pointer === '' ? place : `${place}: ${pointer}`;
  }

  async locateAll(problems: readonly PathProblem[]): Promise<Located[]> {
    const located: Located[] = [];
    for (const { path, message, hint, atKey, kind } of problems) {
      const option = this.#origins.get(toPointer(path));
      const of = atKey === true ? 'key' : 'value';
      const where = await this.#whereIs(path, of);
      const position =
        this.#source === undefined || option !== undefined
          ? { line: 0, column: 0 }
          : (await this.#locatorOf(this.#source)).find(path, of);
      located.push({
        problem:
          this.#source === undefined && option === undefined
            ? missingOption(path, where, message)
            : {
                kind: kind ?? (option === undefined ? 'config' : 'usage'),
                where,
                message,
                ...(hint === undefined ? {} : { hint }),
              },
        ...position,
      });
    }
    return located;
  }

  async repeatedKeys(): Promise<Located[]> {
    const source = this.#source!;
    return (await this.#locatorOf(source)).duplicateKeys().map(({ path, position: { line, column } }) => ({
      problem: {
        kind: 'config',
        where: `${source.label}:${line}:${column}: ${toPointer(path)}`,
        message: 'this key was given before',
        hint: 'keep one of them',
      },
      line,
      column,
    }));
  }
}

/** Without a file, what is missing is an option: the kernel is the only one that has no default. */
function missingOption(path: JsonPath, where: string, message: string): Problem {
  if (path[0] !== 'boot-source') return { kind: 'usage', where, message };
  return { kind: 'usage', where: '--kernel', message: 'is missing', hint: 'give it, or a configuration file' };
}

/**
 * What is left of `document` without the parts that are wrong: whatever is below the problems' paths goes, and then what
 * needs it. For checks that go on after the first problems.
 */
async function prune(document: unknown, problems: readonly PathProblem[]): Promise<FileConfig | undefined> {
  if (!isObject(document)) return undefined;
  const copy = structuredClone(document);
  let rest = problems;
  // Each round takes something out; a valid file never needs more than a few.
  for (let round = 0; round < 64; round++) {
    for (const { path, isMissing } of rest) {
      // What is missing cannot be taken out: what needs it is; an element of a list takes the list with it.
      let target = isMissing === true ? path.slice(0, -1) : path;
      while (typeof target.at(-1) === 'number') target = target.slice(0, -1);
      if (target.length === 0) return undefined;
      remove(copy, target);
    }
    const validation = await validateConfig(copy);
    if (validation.value !== undefined) return validation.value;
    rest = validation.problems;
  }
  return undefined;
}

function remove(document: Record<string, unknown>, path: JsonPath): void {
  let parent: unknown = document;
  for (const part of path.slice(0, -1)) {
    if (typeof parent !== 'object' || parent === null) return;
    parent = (parent as Record<string | number, unknown>)[part];
  }
  if (typeof parent === 'object' && parent !== null) delete (parent as Record<string | number, unknown>)[path.at(-1)!];
}

async function readCpuTemplate(
  file: string,
  baseDirectory: string,
): Promise<{ value?: CpuTemplateFile | undefined; problems: readonly Problem[] }> {
  const read = await readDocument(file, baseDirectory);
  if ('problem' in read) return { problems: [read.problem] };
  const { CpuTemplateSchema } = await import('./schema-cpu.ts');
  const { value, problems } = await validate(CpuTemplateSchema, read.document);
  return { value, problems: inOrder(await new Places(read.source, new Map()).locateAll(problems)) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
