import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';

interface Row {
  readonly engine: string;
  readonly operation: string;
  readonly depth: number;
  readonly requests: number;
  readonly foreignCallsEach: number;
  readonly heapBytes: number;
}

/** A HeapNumber, the least that a request could allocate. */
const LEAST_ALLOCATION = 16;

test('each engine: a few foreign calls a batch, and nothing allocated for a request', (t) => {
  const script = join(import.meta.dirname, 'engine-cost.ts');
  const output = execFileSync(process.execPath, ['--expose-gc', script, '50000'], { encoding: 'utf8' });
  const rows = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);
  t.is(rows.length, 8);
  for (const row of rows) {
    t.log(row);
    // One to do what was asked, one to tell that it is done; a slow disk may make more of it, for completions come singly.
    const least = 2 / row.depth;
    t.true(row.foreignCallsEach >= least * 0.99);
    const mayLag = row.engine === 'Async' && row.operation === 'write';
    t.true(row.foreignCallsEach <= (mayLag ? 2 : least * 1.01));
    t.true(row.heapBytes < (row.requests * LEAST_ALLOCATION) / 2, JSON.stringify(row));
  }
});
