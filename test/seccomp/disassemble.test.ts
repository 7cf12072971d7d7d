import test from 'ava';
import { BPF_JMP, encodeProgram } from '../../lib/seccomp/bpf.ts';
import { compileListing, compileProfile } from '../../lib/seccomp/compile.ts';
import { disassemble, listing } from '../../lib/seccomp/disassemble.ts';
import { parseProfile } from '../../lib/seccomp/parse.ts';

const TEXT = JSON.stringify({
  default_action: 'trap',
  filter_action: 'allow',
  filter: [
    { syscall: 'read' },
    {
      syscall: 'mmap',
      args: [
        { index: 2, type: 'dword', op: { masked_eq: 'PROT_EXEC' }, val: 0 },
        { index: 4, type: 'qword', op: 'gt', val: '$pid' },
      ],
    },
  ],
});
const OPTIONS = { values: { pid: 0x2_0000_0001 }, features: new Set<string>() };

test('a filter is shown with its fields, targets, and the names of what it compares with', async (t) => {
  const profile = await parseProfile(TEXT, 'p.json', 'main');
  t.is(
    listing(compileListing(profile, OPTIONS)),
    ` 0: ld  arch
 1: jeq 0xc000003e   then 2 else 16              ; AUDIT_ARCH_X86_64
 2: ld  nr
 3: jge 0x40000000   then 16 else 4              ; x32
 4: jge 0x9          then 6 else 5               ; mmap
 5: jeq 0x0          then 15 else 16             ; read
 6: jeq 0x9          then 7 else 16              ; mmap
 7: ld  args[2].low
 8: and 0x4                                      ; PROT_EXEC
 9: jeq 0x0          then 10 else 16             ; 0
10: ld  args[4].high
11: jgt 0x2          then 15 else 12             ; $pid
12: jeq 0x2          then 13 else 16             ; $pid
13: ld  args[4].low
14: jgt 0x1          then 15 else 16             ; $pid
15: ret ALLOW
16: ret TRAP 2 (main)
`,
  );
});

test('a program alone is shown as well, with what it has of actions and unknown instructions', async (t) => {
  const profile = await parseProfile(TEXT, 'p.json', 'main');
  const bare = disassemble(compileProfile(profile, OPTIONS)).split('\n');
  const noted = listing(compileListing(profile, OPTIONS)).split('\n');
  t.is(bare.length, noted.length);
  for (const [index, line] of bare.entries()) t.true(noted[index]!.startsWith(line.replace(/ +; .*/, '')), line);
  const returns = [0, 0x8000_0000, 0x0003_0000, 0x0005_0026, 0x7ff0_0007, 0x7ffc_0000, 0x7fff_0000, 0x7fc0_0000];
  t.is(
    disassemble(
      encodeProgram([
        { code: 0x40, jt: 1, jf: 2, k: 3 },
        { code: BPF_JMP, jt: 0, jf: 0, k: 5 },
        { code: 0x20, jt: 0, jf: 0, k: 12 },
        ...returns.map((k) => ({ code: 0x06, jt: 0, jf: 0, k })),
      ]),
    ),
    ` 0: code 0x40 jt 1 jf 2 k 0x3
 1: ja  7
 2: ld  instruction_pointer.high
 3: ret KILL_THREAD
 4: ret KILL_PROCESS
 5: ret TRAP
 6: ret ERRNO 38
 7: ret TRACE 7
 8: ret LOG
 9: ret ALLOW
10: ret 0x7fc00000
`,
  );
});
