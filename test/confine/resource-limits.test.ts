import test from 'ava';
import { parseResourceLimits } from '../../lib/confine/resource-limits.ts';

test('both limits are read; without them descriptors are limited as by the jailer of Firecracker', (t) => {
  t.deepEqual(parseResourceLimits([]), { limits: { fileSize: undefined, openFiles: 2048 }, problems: [] });
  t.deepEqual(parseResourceLimits(['fsize=250000000', 'no-file=1024']), {
    limits: { fileSize: 250_000_000, openFiles: 1024 },
    problems: [],
  });
});

for (const [text, message] of [
  ['fsize', '"fsize" is neither fsize=BYTES nor no-file=COUNT'],
  ['nofile=100', '"nofile=100" is neither fsize=BYTES nor no-file=COUNT'],
  ['fsize=1G', 'fsize must be a whole number, not "1G"'],
  ['fsize=-1', 'fsize must be a whole number, not "-1"'],
  ['fsize=99999999999999999', 'fsize must be a whole number, not "99999999999999999"'],
  ['no-file=10', 'no-file is 10, and mvm itself needs 64'],
] as const) {
  test(`${text} is wrong`, (t) => {
    t.deepEqual(
      parseResourceLimits([text]).problems.map((problem) => [problem.where, problem.message]),
      [['--resource-limit', message]],
    );
  });
}

test('a limit that is given twice is wrong', (t) => {
  t.is(parseResourceLimits(['fsize=1', 'fsize=2']).problems.length, 1);
});
