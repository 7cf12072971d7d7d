import { dirname, resolve } from 'node:path';
import { ConfigError } from '../errors.ts';
import { hasDuplicateKeys, JsonSyntaxError, parseJson } from './json.ts';
import type { Problem } from './problems.ts';
import { readText, STDIN } from './read-text.ts';

/** A file's text, how messages name it, and where its relative paths begin. */
export interface Source {
  readonly text: string;
  readonly label: string;
  readonly baseDirectory: string;
}

export interface Document {
  readonly document: unknown;
  readonly source: Source | undefined;
  readonly hasRepeatedKeys: boolean;
}

export const NO_DOCUMENT = (): Document => ({ document: {}, source: undefined, hasRepeatedKeys: false });

/** Reads a JSON file, or standard input for `-`; `cwd` is where a relative path begins. */
export async function readDocument(path: string, cwd: string): Promise<Document | { problem: Problem }> {
  const label = path === STDIN ? '<stdin>' : path;
  const absolute = path === STDIN ? STDIN : resolve(cwd, path);
  try {
    const { text, isRegular } = readText(absolute, label);
    return await parseDocument({ text, label, baseDirectory: isRegular && path !== STDIN ? dirname(absolute) : cwd });
  } catch (error) {
    if (error instanceof ConfigError) return { problem: { kind: 'config', where: label, message: error.message } };
    throw error;
  }
}

/** Parses a text of JSON; `problem` is its first fault. */
export async function parseDocument(source: Source): Promise<Document | { problem: Problem }> {
  const { text, label } = source;
  try {
    const document = await parseJson(text);
    return { document, source, hasRepeatedKeys: hasDuplicateKeys(text, document) };
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    const { line, column } = error.position;
    const where = `${label}:${line}:${column}`;
    return { problem: { kind: 'config', where, message: `is not JSON: ${error.message}` } };
  }
}
