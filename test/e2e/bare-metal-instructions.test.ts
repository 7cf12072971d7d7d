import test from 'ava';
import { runGuest } from '../helpers/bare-metal.ts';

test.serial('what KVM does not emulate at CPL 0 does the same as at CPL 3', async (t) => {
  t.timeout(300_000);
  const { code, stdout, stderr } = await runGuest(t, 'instructions');
  t.deepEqual(stdout.match(/^FAIL .*$/gm), null);
  t.regex(stdout, /\ninstructions: \d+ groups ok, 0 failed\n$/);
  for (const group of [
    'breakpoint',
    'int',
    'fwait',
    'cmpxchg16b',
    'popcnt',
    'clac',
    'rdtscp',
    'verw',
    'invpcid',
    'ldmxcsr',
    'stmxcsr',
    'xsave',
    'xrstor',
    'xsaveopt',
    'crc32',
    'pages',
  ]) {
    t.regex(stdout, new RegExp(`^ok ${group} \\d+$`, 'm'), group);
  }
  t.is(stderr, '');
  t.is(code, 0);
});

test.serial('int3 without an interrupt descriptor table is a triple fault', async (t) => {
  t.timeout(60_000);
  const { code, stdout, stderr } = await runGuest(t, 'instructions', { cmdline: 'case=empty-idt' });
  t.is(stdout, 'int3 without an IDT next\n');
  t.regex(stderr, /^mvm: [^\n]*triple fault[^\n]*\n$/);
  t.is(code, 5);
});
