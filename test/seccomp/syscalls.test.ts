import { execFileSync } from 'node:child_process';
import test from 'ava';
import { SYSTEM_CALLS, systemCallName, systemCallNumber } from '../../lib/seccomp/syscalls.ts';

/** Calls that are newer than the oldest headers that mvm is built against (Linux 6.1). */
const NEWEST_EVERYWHERE = 450;

test('the table is that of <asm/unistd_64.h>', (t) => {
  const macros = execFileSync('gcc', ['-E', '-dM', '-include', 'asm/unistd_64.h', '-'], {
    input: '',
    encoding: 'utf8',
  });
  const system = [...macros.matchAll(/^#define __NR_(\w+) (\d+)$/gm)].map(
    ([, name, number]) => [name!, Number(number)] as const,
  );
  t.true(system.length > 350);
  for (const [name, number] of system) t.is(systemCallNumber(name), number, name);
  const known = new Set(system.map(([name]) => name));
  for (const [name, number] of SYSTEM_CALLS) {
    t.is(systemCallName(number), name);
    if (number <= NEWEST_EVERYWHERE && name !== 'uretprobe' && name !== 'uprobe') t.true(known.has(name), name);
  }
});

test('what is no system call has no name', (t) => {
  t.is(systemCallName(400), undefined);
  t.is(systemCallName(512), undefined);
  t.is(systemCallNumber('toString'), undefined);
});
