import { readFileSync } from 'node:fs';
import test from 'ava';
import { assemble, render } from '../../lib/native/assemble.ts';
import { MACHINE_CODE } from '../../lib/native/machine-code.ts';
import { PARTS } from '../../lib/native/routines.ts';

for (const part of PARTS) {
  test(`${part}: the machine code is what its source assembles to`, (t) => {
    t.is(MACHINE_CODE[part], assemble(part));
  });
}

test('machine-code.ts is what assemble.ts writes', (t) => {
  const path = new URL('../../lib/native/machine-code.ts', import.meta.url);
  t.is(readFileSync(path, 'utf8'), render());
});
