import test from 'ava';
import { directoryWith, fails, mvm } from './mvm.ts';
import { elfOf, RESET } from './tiny-kernel.ts';

const profile = (syscall: string) => ({
  default_action: 'trap',
  filter_action: 'allow',
  filter: [{ syscall }, { syscall: 'exit_group' }],
});
const good = JSON.stringify({ vcpu: profile('ioctl'), main: profile('read'), runtime: profile('futex') });
const bad = '{\n"vcpu": {},\n"main": 1}\n';
const BAD_LINES = [
  'mvm: bad.json:1:1: /runtime: is missing',
  'mvm: bad.json:2:9: /vcpu/default_action: is missing',
  'mvm: bad.json:2:9: /vcpu/filter_action: is missing',
  'mvm: bad.json:2:9: /vcpu/filter: is missing',
  'mvm: bad.json:3:9: /main: must be an object, not 1',
];

test.serial('seccomp --check says what a file has, and every mistake', async (t) => {
  const cwd = directoryWith(t, { 'good.json': good, 'bad.json': bad, 'main.json': JSON.stringify(profile('read')) });
  const line =
    'good.json: OK: vcpu 2 system calls, 9 instructions; main 2 system calls, 9 instructions; runtime 2 system calls, 9 instructions\n';
  t.like(await mvm(['seccomp', '--check', 'good.json'], { cwd }), { code: 0, stdout: line, stderr: '' });
  t.like(await mvm(['seccomp', '--check', 'good.json', '-q'], { cwd }), { code: 0, stdout: '', stderr: '' });
  t.like(await mvm(['seccomp', '--check', 'main.json'], { cwd }), {
    code: 0,
    stdout: 'main.json: OK: main 2 system calls, 9 instructions\n',
  });
  await fails(t, ['seccomp', '--check', 'bad.json'], 3, BAD_LINES, { cwd });
  await fails(t, ['seccomp', '--check', 'none.json'], 3, ['mvm: none.json: there is no such file'], { cwd });
});

test.serial('seccomp --disassemble shows mvm’s own filters, and those of a file', async (t) => {
  const cwd = directoryWith(t, { 'good.json': good });
  for (const thread of ['vcpu', 'main', 'runtime']) {
    const own = await mvm(['seccomp', '--disassemble', thread]);
    t.is(own.code, 0);
    t.regex(own.stdout, new RegExp(`^# ${thread}: \\d+ system calls`));
    t.regex(own.stdout, /^ *\d+: ret ALLOW\n *\d+: ret TRAP \d \(\w+\)\n$/m);
  }
  const all = await mvm(['seccomp', '--disassemble', 'good.json'], { cwd });
  t.deepEqual(all.stdout.match(/^# \w+/gm), ['# vcpu', '# main', '# runtime']);
  const one = await mvm(['seccomp', '--disassemble', 'good.json', '--thread', 'main'], { cwd });
  t.deepEqual(one.stdout.match(/^# \w+/gm), ['# main']);
  t.regex(one.stdout, /jeq 0xe7 +then 7 else 8 +; exit_group/);
});

test.serial('seccomp --print begins a file that says what mvm’s own profiles say', async (t) => {
  const { code, stdout, stderr } = await mvm(['seccomp', '--print']);
  t.is(code, 0, stderr);
  const cwd = directoryWith(t, { 'own.json': stdout });
  for (const thread of ['vcpu', 'main', 'runtime']) {
    const own = await mvm(['seccomp', '--disassemble', thread]);
    const printed = await mvm(['seccomp', '--disassemble', 'own.json', '--thread', thread], { cwd });
    t.deepEqual(printed, own);
    const { stdout: one } = await mvm(['seccomp', '--print', '--thread', thread]);
    t.deepEqual(JSON.parse(one), (JSON.parse(stdout) as Record<string, unknown>)[thread]);
  }
});

test.serial('seccomp refuses what it cannot make sense of', async (t) => {
  const needed = 'mvm: one of --check FILE, --disassemble PROFILE|FILE and --print is needed; see --help';
  await fails(t, ['seccomp'], 2, [needed]);
  await fails(t, ['seccomp', '--check', 'a', '--disassemble', 'b'], 2, [needed]);
  await fails(t, ['seccomp', '--chek', 'a'], 2, ['mvm: unknown option --chek; did you mean --check?']);
  await fails(t, ['seccomp', '--disassemble', 'main', '--thread', 'vmm'], 2, [
    'mvm: --thread: must be vcpu, main, runtime, not "vmm"',
  ]);
  await fails(t, ['seccomp', '--disassemble', 'main', '--thread', 'vcpu'], 2, [
    'mvm: --thread: main is the profile of another thread',
  ]);
});

for (const command of ['run', 'check']) {
  test.serial(`${command}: --seccomp-filter is checked before anything starts`, async (t) => {
    const files = { 'bad.json': bad, 'good.json': good, kernel: elfOf(RESET) };
    const args = [command, '-k', 'kernel', '--seccomp-filter'];
    await fails(t, [...args, 'bad.json'], 3, BAD_LINES, { files });
    await fails(t, [...args, 'none.json'], 3, ['mvm: none.json: there is no such file'], { files });
    await fails(
      t,
      [...args, 'good.json', '--no-seccomp'],
      2,
      ['mvm: --no-seccomp: says the opposite of --seccomp-filter; give one of them'],
      { files },
    );
  });
}
