import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { ExitCode } from '../../lib/errors.ts';
import { directoryWith, mvm } from './mvm.ts';
import { elfOf, RESET } from './tiny-kernel.ts';

const COMMANDS = ['run', 'check', 'schema', 'doctor', 'seccomp'];
const manifest = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
  version: string;
};

test.serial('--help tells every command and every exit code, and each command has examples', async (t) => {
  const { code, stdout, stderr } = await mvm(['--help']);
  t.is(code, 0);
  t.is(stderr, '');
  for (const command of [...COMMANDS, 'completion']) t.regex(stdout, new RegExp(`^  mvm ${command}\\b`, 'm'));
  for (const [name, number] of Object.entries(ExitCode)) t.regex(stdout, new RegExp(`^  ${number} `, 'm'), name);
  for (const command of COMMANDS) {
    const help = await mvm([command, '--help']);
    t.is(help.code, 0);
    t.regex(help.stdout, new RegExp(`^mvm ${command}\\b`));
    t.regex(help.stdout, /^Examples:\n {2}\S/m);
    if (command === 'run' || command === 'check') t.regex(help.stdout, /^Exit codes:$/m);
    t.is((await mvm(['-h', command])).stdout, help.stdout);
  }
});

test.serial('--version prints the version alone', async (t) => {
  t.like(await mvm(['--version']), { code: 0, stdout: `${manifest.version}\n`, stderr: '' });
});

test.serial('schema prints a JSON Schema', async (t) => {
  const { code, stdout, stderr } = await mvm(['schema']);
  t.is(code, 0);
  t.is(stderr, '');
  const schema = JSON.parse(stdout) as Record<string, unknown>;
  t.is(schema.$schema, 'https://json-schema.org/draft/2020-12/schema');
  t.deepEqual(schema.required, ['boot-source']);
});

test.serial('check says what the machine is, on standard output, and nothing with --quiet', async (t) => {
  const text =
    '{"boot-source": {"kernel_image_path": "kernel", "initrd_path": "initrd"}, "machine-config": {"vcpu_count": 2}}';
  const cwd = directoryWith(t, { 'vm.json': text, kernel: elfOf(RESET), initrd: 'x'.repeat(2048) });
  const line = `vm.json: OK: 2 vCPUs, 128 MiB, kernel ${cwd}/kernel (ELF), initrd ${cwd}/initrd (2 KiB)\n`;
  t.like(await mvm(['check', 'vm.json'], { cwd }), { code: 0, stdout: line, stderr: '' });
  t.like(await mvm(['check', '--quiet', 'vm.json'], { cwd }), { code: 0, stdout: '', stderr: '' });
  // Relative paths begin at the file; on standard input, and in options, at the working directory.
  t.like(await mvm(['check', join(cwd, 'vm.json')]), { code: 0, stderr: '' });
  t.like(await mvm(['check', '-', '-q'], { cwd, stdin: text }), { code: 0, stderr: '' });
  t.like(await mvm(['check', join(cwd, 'vm.json'), '--kernel', 'kernel'], { cwd: '/' }), { code: 3 });
});

test.serial('colours go to who asks for them only', async (t) => {
  const cwd = directoryWith(t, { kernel: elfOf(RESET) });
  const check = async (env: Record<string, string>) => (await mvm(['check', '-k', 'kernel'], { cwd, env })).stdout;
  const ESCAPE_SEQUENCE = '\u001b[';
  t.false((await check({})).includes(ESCAPE_SEQUENCE), 'not into a pipe');
  t.true((await check({ FORCE_COLOR: '1' })).includes(ESCAPE_SEQUENCE));
  t.false((await check({ FORCE_COLOR: '1', NO_COLOR: '1' })).includes(ESCAPE_SEQUENCE));
  t.false((await check({ FORCE_COLOR: '0' })).includes(ESCAPE_SEQUENCE));
});

test.serial('completion prints a script for bash or zsh, and completes commands, options and values', async (t) => {
  const bash = (await mvm(['completion', 'bash'])).stdout;
  t.regex(bash, /^complete .* mvm$/m);
  t.regex(bash, /mvm --get-yargs-completions/);
  t.regex((await mvm(['completion', 'zsh'])).stdout, /^#compdef mvm$/m);
  t.regex((await mvm(['completion'], { env: { SHELL: '/usr/bin/zsh' } })).stdout, /^#compdef mvm$/m);
  const complete = async (...words: string[]) => {
    const { stdout, code } = await mvm(['--get-yargs-completions', 'mvm', ...words]);
    t.is(code, 0);
    return stdout.trimEnd().split('\n');
  };
  t.deepEqual(await complete(''), [...COMMANDS, 'completion']);
  const options = await complete('run', '--');
  for (const option of ['--kernel', '--memory', '--serial', '--log-format']) t.true(options.includes(option), option);
  t.deepEqual(await complete('run', '--transport', ''), ['mmio', 'pci']);
  t.deepEqual(await complete('run', '--huge-pages', ''), ['None', 'Transparent', '2M']);
});
