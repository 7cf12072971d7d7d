import type { ValueNode } from '@humanwhocodes/momoa';

/** A place in a text: both count from 1, `column` in UTF-16 code units. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** Keys and array indices from the root of a JSON value to one of its parts. */
export type JsonPath = readonly (string | number)[];

/** A text is not JSON. */
export class JsonSyntaxError extends Error {
  readonly position: TextPosition;

  constructor(message: string, position: TextPosition) {
    super(message);
    this.name = 'JsonSyntaxError';
    this.position = position;
  }
}

/** RFC 6901; the root is the empty string. */
export function toPointer(path: JsonPath): string {
  let pointer = '';
  for (const part of path) pointer += `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`;
  return pointer;
}

/** The line and column of a UTF-16 offset. Lines end with LF, CR LF or CR. */
export function positionAt(text: string, offset: number): TextPosition {
  let line = 1;
  let lineStart = 0;
  for (const match of text.matchAll(/\r\n|\n|\r/g)) {
    const next = match.index + match[0].length;
    if (next > offset) break;
    line++;
    lineStart = next;
  }
  return { line, column: offset - lineStart + 1 };
}

/**
 * Parses JSON (RFC 8259), strictly.
 * @throws JsonSyntaxError with the place of the first fault
 */
export async function parseJson(text: string): Promise<unknown> {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw await describeSyntaxError(text, error as SyntaxError);
  }
}

/** V8 says best what is wrong and mostly where; momoa knows the place where V8 does not. */
async function describeSyntaxError(text: string, error: SyntaxError): Promise<JsonSyntaxError> {
  const message = error.message;
  const positioned = /^(.*?)(?: in JSON)? at position (\d+)/s.exec(message);
  if (positioned !== null) {
    const what = positioned[1]!.charAt(0).toLowerCase() + positioned[1]!.slice(1);
    return new JsonSyntaxError(what, positionAt(text, Number(positioned[2])));
  }
  const end = positionAt(text, text.length);
  if (text.trim() === '') return new JsonSyntaxError('the text is empty', end);
  if (message.startsWith('Unexpected end')) return new JsonSyntaxError('the text ends too early', end);
  const { parse } = await import('@humanwhocodes/momoa');
  try {
    parse(text, { mode: 'json' });
  } catch (fault) {
    const { line, column, offset } = fault as { line?: number; column?: number; offset?: number };
    if (line !== undefined && column !== undefined && offset !== undefined) {
      if (offset >= text.length) return new JsonSyntaxError('the text ends too early', end);
      const character = JSON.stringify(String.fromCodePoint(text.codePointAt(offset)!));
      return new JsonSyntaxError(`unexpected ${character}`, positionAt(text, offset));
    }
  }
  return new JsonSyntaxError(message, end);
}

/**
 * Whether an object of `text` names a key twice. `value` is what `JSON.parse` made of it, where the later key won.
 *
 * Counts instead of parsing again: in a valid text, exactly the strings before a colon are keys.
 */
export function hasDuplicateKeys(text: string, value: unknown): boolean {
  let keys = 0;
  for (const match of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/gs)) if (match[1] !== undefined) keys++;
  return keys !== countKeys(value);
}

function countKeys(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  if (Array.isArray(value)) return value.reduce((sum: number, element) => sum + countKeys(element), 0);
  const values = Object.values(value);
  return values.reduce((sum: number, element) => sum + countKeys(element), values.length);
}

/** Finds the places of the parts of a valid JSON text. */
export class JsonLocator {
  readonly #root: ValueNode;

  private constructor(root: ValueNode) {
    this.#root = root;
  }

  /** @param text valid JSON */
  static async create(text: string): Promise<JsonLocator> {
    const { parse } = await import('@humanwhocodes/momoa');
    return new JsonLocator(parse(text, { mode: 'json' }).body);
  }

  /**
   * Where the part at `path` begins: its key for `of: 'key'`, otherwise its value. Where there is no such part, the place
   * of the innermost part that is there.
   */
  find(path: JsonPath, of: 'key' | 'value' = 'value'): TextPosition {
    let node: ValueNode = this.#root;
    let place = node.loc.start;
    for (const [depth, part] of path.entries()) {
      const last = depth === path.length - 1;
      if (node.type === 'Object') {
        // The last one of equal keys is the one that counts.
        const member = node.members.findLast((candidate) => keyOf(candidate.name) === part);
        if (member === undefined) break;
        node = member.value;
        place = last && of === 'key' ? member.name.loc.start : node.loc.start;
      } else if (node.type === 'Array') {
        const element = node.elements[Number(part)];
        if (element === undefined) break;
        node = element.value;
        place = node.loc.start;
      } else break;
    }
    return { line: place.line, column: place.column };
  }

  /** Every key that its object has already named, with its place. */
  duplicateKeys(): { path: JsonPath; position: TextPosition }[] {
    const found: { path: JsonPath; position: TextPosition }[] = [];
    const visit = (node: ValueNode, path: JsonPath): void => {
      if (node.type === 'Object') {
        const seen = new Set<string>();
        for (const member of node.members) {
          const key = keyOf(member.name);
          const at = [...path, key];
          const { line, column } = member.name.loc.start;
          if (seen.has(key)) found.push({ path: at, position: { line, column } });
          seen.add(key);
          visit(member.value, at);
        }
      } else if (node.type === 'Array') {
        for (const [index, element] of node.elements.entries()) visit(element.value, [...path, index]);
      }
    };
    visit(this.#root, []);
    return found;
  }
}

function keyOf(name: { type: string; value?: string; name?: string }): string {
  return name.value ?? name.name ?? '';
}
