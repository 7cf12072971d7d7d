import { BUILT_SECTIONS, findUnbuilt, UNBUILT_KEYS } from './built.ts';
import { crossCheck } from './cross-checks.ts';
import { NO_DOCUMENT, readDocument } from './document.ts';
import { type JsonPath, toPointer } from './json.ts';
import { normaliseConfig } from './normalise.ts';
import { applyOverrides, type Overrides } from './overrides.ts';
import { inOrder, Places } from './places.ts';
import { ConfigProblems, type PathProblem, type Problem } from './problems.ts';
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
  if (file !== undefined) {
    // What was taken out because it is wrong is not missing as well.
    const isAbove = (path: JsonPath) =>
      validation.problems.some((problem) => toPointer(problem.path).startsWith(`${toPointer(path)}/`));
    pathProblems.push(...crossCheck(file).filter(({ path }) => !isAbove(path)));
  }

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
