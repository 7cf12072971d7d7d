import type { Source } from './document.ts';
import { JsonLocator, type JsonPath, type TextPosition, toPointer } from './json.ts';
import type { PathProblem, Problem } from './problems.ts';

/** A problem, and where it is in the file's text (0 where it is not in there). */
export interface Located extends TextPosition {
  readonly problem: Problem;
}

/** In the order of the text, options first. */
export function inOrder(located: readonly Located[]): Problem[] {
  return located.toSorted((a, b) => a.line - b.line || a.column - b.column).map(({ problem }) => problem);
}

/** Turns paths in the configuration into places that the user knows. */
export class Places {
  readonly #source: Source | undefined;
  readonly #origins: ReadonlyMap<string, string>;
  #locator: JsonLocator | undefined;

  constructor(source: Source | undefined, origins: ReadonlyMap<string, string>) {
    this.#source = source;
    this.#origins = origins;
  }

  /** The option that gave the value at `path`, or what it is a part of. */
  #optionFor(path: JsonPath): string | undefined {
    for (let length = path.length; length > 0; length--) {
      const option = this.#origins.get(toPointer(path.slice(0, length)));
      if (option !== undefined) return option;
    }
    return undefined;
  }

  async #locatorOf(source: Source): Promise<JsonLocator> {
    this.#locator ??= await JsonLocator.create(source.text);
    return this.#locator;
  }

  async #whereIs(path: JsonPath, of: 'key' | 'value'): Promise<string> {
    const pointer = toPointer(path);
    const option = this.#optionFor(path);
    if (option !== undefined) return option;
    if (this.#source === undefined) return pointer;
    const { line, column } = (await this.#locatorOf(this.#source)).find(path, of);
    const place = `${this.#source.label}:${line}:${column}`;
    return pointer === '' ? place : `${place}: ${pointer}`;
  }

  async locateAll(problems: readonly PathProblem[]): Promise<Located[]> {
    const located: Located[] = [];
    for (const { path, message, hint, atKey, kind } of problems) {
      const option = this.#optionFor(path);
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
