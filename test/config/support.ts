import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { BUILT_SECTIONS } from '../../lib/config/built.ts';
import { inspectConfig, type LoadOptions } from '../../lib/config/load.ts';
import { problemToLine } from '../../lib/config/problems.ts';

export const fixtures = join(import.meta.dirname, '../../fixtures/configs');
/** As if every section were built. */
export const everything = {
  sections: Object.fromEntries(Object.keys(BUILT_SECTIONS).map((name) => [name, true])),
  keys: [],
};

/** Writes `text` as vm.json into a directory of its own, and gives its problems as lines without the file's name. */
export async function problemsOf(t: ExecutionContext, text: string, options: LoadOptions = {}): Promise<string[]> {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'vm.json'), text);
  const { problems } = await inspectConfig({ file: 'vm.json', cwd: directory, ...options });
  return problems.map((problem) => problemToLine(problem).replace(/^vm\.json:/, ''));
}

export function temporaryDirectory(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-config-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** A section that a configuration must have, inside of its object. */
export const KERNEL = '"boot-source": {"kernel_image_path": "k"}';
