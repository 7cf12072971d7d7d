import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { type Fields, memberType, type Struct } from '../../lib/kvm/layout.ts';

export interface CStruct {
  readonly layout: Struct<Fields>;
  /** How C spells the type; default `struct <name>`. */
  readonly type?: string;
  /** Members by another name in C: path → path. */
  readonly rename?: Readonly<Record<string, string>>;
  /** Members that these headers do not have yet; the rest is still compared. */
  readonly newer?: readonly string[];
}

export interface CComparison {
  /** As in `#include <…>`, in this order. */
  readonly headers: readonly string[];
  readonly structs?: readonly CStruct[];
  /** Macros and enumerators, by name, that must equal these numbers (unsigned, at most 2⁵³). */
  readonly constants?: Readonly<Record<string, number>>;
  /** Compiler definitions, as `_GNU_SOURCE`. */
  readonly define?: readonly string[];
}

/** Forgets a structure's members, so that different ones go into one list. */
export function anyStruct<F extends Fields>(layout: Struct<F>): Struct<Fields> {
  return layout as unknown as Struct<Fields>;
}

/** Every structure that a module exports, by the value's nature, whatever the export's name. */
export function structsOf(module: Readonly<Record<string, unknown>>): Struct<Fields>[] {
  return Object.values(module).filter(
    (value): value is Struct<Fields> =>
      typeof value === 'object' && value !== null && 'encode' in value && 'fields' in value,
  );
}

/** Every number that a module exports under an upper-case name. */
export function constantsOf(module: Readonly<Record<string, unknown>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(module).filter(
      (entry): entry is [string, number] => /^_?[A-Z]/.test(entry[0]) && typeof entry[1] === 'number',
    ),
  );
}

/**
 * Compiles and runs a C program that prints the sizes, offsets and constants as the system's headers have them, and
 * compares each with the description. A name that the headers lack is a compile error, so nothing passes unseen.
 */
export function compareWithC(
  t: ExecutionContext,
  { headers, structs = [], constants = {}, define = [] }: CComparison,
): void {
  const expected = new Map<string, string>();
  const lines: string[] = [];
  function expectEqual(key: string, expression: string, value: number): void {
    expected.set(key, String(value));
    lines.push(`  printf("%s=%llu\\n", ${JSON.stringify(key)}, (unsigned long long)(${expression}));`);
  }

  for (const { layout, type = `struct ${layout.name}`, rename = {}, newer = [] } of structs) {
    expectEqual(`sizeof(${type})`, `sizeof(${type})`, layout.size);
    expectEqual(`alignof(${type})`, `_Alignof(${type})`, layout.align);
    for (const [path, offset] of Object.entries<number>(layout.offset)) {
      if (newer.some((name) => path === name || path.startsWith(`${name}.`))) continue;
      const member = rename[path] ?? path;
      expectEqual(`${type}.${path}`, `offsetof(${type}, ${member})`, offset);
      const { size } = memberType(layout, path);
      if (size > 0) expectEqual(`sizeof ${type}.${path}`, `sizeof(((${type} *)0)->${member})`, size);
    }
  }
  for (const [name, value] of Object.entries(constants)) expectEqual(name, name, value);

  const source = [
    ...define.map((name) => `#define ${name}`),
    '#include <stddef.h>',
    '#include <stdio.h>',
    ...headers.map((header) => `#include <${header}>`),
    'int main(void) {',
    ...lines,
    '  return 0;',
    '}',
    '',
  ].join('\n');
  const actual = new Map(
    compileAndRun(source)
      .trimEnd()
      .split('\n')
      .map((line) => {
        const equals = line.lastIndexOf('=');
        return [line.slice(0, equals), line.slice(equals + 1)];
      }),
  );
  const differences = [...expected]
    .filter(([key, value]) => actual.get(key) !== value)
    .map(([key, value]) => `${key}: described ${value}, in C ${actual.get(key)}`);
  t.deepEqual(differences, []);
  t.is(actual.size, expected.size);
}

/** What the C program prints. @throws where it does not compile (with the compiler's words) or fails */
export function compileAndRun(source: string, args: readonly string[] = []): string {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-c-'));
  try {
    const file = join(directory, 'main.c');
    const program = join(directory, 'main');
    writeFileSync(file, source);
    execFileSync('gcc', ['-std=gnu11', '-w', '-o', program, file], { stdio: ['ignore', 'pipe', 'pipe'] });
    return execFileSync(program, args, { encoding: 'utf8', maxBuffer: 16 * 1024 * 1024 });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Whether the system's headers have this macro: for names that are newer than the oldest headers mvm is built against. */
export function hasMacro(headers: readonly string[], name: string): boolean {
  const source = `${headers.map((header) => `#include <${header}>`).join('\n')}
#include <stdio.h>
int main(void) {
#ifdef ${name}
  puts("yes");
#endif
  return 0;
}
`;
  return compileAndRun(source).trim() === 'yes';
}
