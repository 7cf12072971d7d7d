import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileProfile } from '../../../lib/seccomp/compile.ts';
import { systemCallNumber } from '../../../lib/seccomp/syscalls.ts';

const EPERM = 1;

let directory: string | undefined;

/**
 * What stands before a program and its arguments to run it as a host does that forbids some system calls, as containers do: they fail with
 * EPERM.
 */
export function withoutCalls(...names: readonly string[]): readonly [program: string, ...args: string[]] {
  if (directory === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'mvm-launcher-'));
    process.on('exit', () => rmSync(made, { recursive: true, force: true }));
    directory = made;
    execFileSync('gcc', ['-Wall', '-Werror', '-o', join(made, 'launcher'), join(import.meta.dirname, 'launcher.c')]);
  }
  const filter = compileProfile(
    {
      thread: 'main',
      defaultAction: { kind: 'allow' },
      filterAction: { kind: 'errno', number: EPERM },
      rules: names.map((name) => ({
        name,
        number: systemCallNumber(name)!,
        conditions: [],
        when: [],
        action: undefined,
      })),
    },
    { values: {}, features: new Set() },
  );
  const file = join(directory, `${names.join('-')}.bpf`);
  writeFileSync(file, filter);
  return [join(directory, 'launcher'), file];
}
