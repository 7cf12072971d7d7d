import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PARTS, type Part } from './routines.ts';

/** Assembles one part with the GNU assembler, and returns its machine code as hexadecimal. */
export function assemble(part: Part): string {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-as-'));
  try {
    const object = join(directory, 'code.o');
    const binary = join(directory, 'code.bin');
    execFileSync('as', ['--64', '-I', import.meta.dirname, '-o', object, join(import.meta.dirname, `${part}.S`)]);
    execFileSync('objcopy', ['-O', 'binary', '-j', '.text', object, binary]);
    return readFileSync(binary, 'hex');
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The text of `machine-code.ts`. */
export function render(): string {
  const entries = PARTS.map((part) => {
    const lines = assemble(part).match(/.{1,96}/g) ?? [];
    return `  ${part}:\n${lines.map((line) => `    '${line}'`).join(' +\n')},`;
  });
  return `// Made by assemble.ts from the .S files beside it; test/native/machine-code.test.ts assembles them again and compares.
// biome-ignore format: hexadecimal in lines of equal length
export const MACHINE_CODE = {
${entries.join('\n')}
} as const;
`;
}

if (import.meta.main) writeFileSync(join(import.meta.dirname, 'machine-code.ts'), render());
