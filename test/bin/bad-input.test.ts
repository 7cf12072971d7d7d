import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { directoryWith, fails, mvm } from './mvm.ts';
import { elfOf, RESET } from './tiny-kernel.ts';

const USAGE = 2;
const BAD_CONFIG = 3;
const HOST_UNABLE = 4;
const OUTPUT_FAILED = 6;

const kernel = elfOf(RESET);
const TOO_MUCH_MIB = Math.ceil(totalmem() / 2 ** 20) + 1;

/** What is wrong with a configuration does not depend on what is to be done with it. */
for (const command of ['run', 'check']) {
  const files = (text: string) => ({ files: { 'vm.json': text, kernel } });

  test.serial(`${command}: broken JSON, with line and column`, async (t) => {
    const broken = files('{\n  "boot-source": {}\n    "drives": []\n}\n');
    await fails(
      t,
      [command, 'vm.json'],
      BAD_CONFIG,
      ["mvm: vm.json:3:5: is not JSON: expected ',' or '}' after property value"],
      broken,
    );
    await fails(t, [command, 'vm.json'], BAD_CONFIG, ['mvm: vm.json:1:1: is not JSON: the text is empty'], files(''));
  });

  test.serial(`${command}: every wrong type, unknown key and value, each in a line`, async (t) => {
    const text = `{
  "boot-source": {"kernel_image_path": 7},
  "machine-config": {"vcpus": 2, "mem_size_mib": 0},
  "boot_source": {},
  "drives": ["disk.img"],
  "mmds-config": {"network_interfaces": ["eth0"]}
}`;
    await fails(
      t,
      [command, 'vm.json'],
      BAD_CONFIG,
      [
        'mvm: vm.json:2:40: /boot-source/kernel_image_path: must be a string, not 7',
        'mvm: vm.json:3:22: /machine-config/vcpus: unknown key; did you mean "vcpu_count"?',
        'mvm: vm.json:3:50: /machine-config/mem_size_mib: must be at least 1, not 0',
        'mvm: vm.json:4:3: /boot_source: unknown key; did you mean "boot-source"?',
        'mvm: vm.json:5:14: /drives/0: must be an object, not "disk.img"',
        'mvm: vm.json:6:3: /mmds-config: this version of mvm cannot do it yet; leave it out',
      ],
      files(text),
    );
  });

  test.serial(`${command}: vCPUs 0 and 33, in the file and as an option`, async (t) => {
    for (const [count, message] of [
      ['0', 'must be at least 1, not 0'],
      ['33', 'must be at most 32, not 33'],
    ] as const) {
      const text = `{"boot-source": {"kernel_image_path": "kernel"}, "machine-config": {"vcpu_count": ${count}}}`;
      const where = `vm.json:1:${text.indexOf(`${count}}}`) + 1}: /machine-config/vcpu_count`;
      await fails(t, [command, 'vm.json'], BAD_CONFIG, [`mvm: ${where}: ${message}`], files(text));
      await fails(t, [command, '-k', 'kernel', '--cpus', count], USAGE, [`mvm: --cpus: ${message}`], files(''));
    }
    const line = 'mvm: --cpus: must be a whole number, not "two"';
    await fails(t, [command, '-k', 'kernel', '--cpus', 'two'], USAGE, [line], files(''));
  });

  test.serial(`${command}: memory of no size, odd, or none at all`, async (t) => {
    for (const [size, message] of [
      ['0', 'must be at least 1, not 0'],
      ['1.5K', '1.5K is not a multiple of 1 MiB; give it as 256M or 2G'],
      ['256X', '"256X" is not a size; give it as 256M or 2G'],
      ['-5M', '"-5M" is not a size; give it as 256M or 2G'],
    ] as const) {
      await fails(t, [command, '-k', 'kernel', `--memory=${size}`], USAGE, [`mvm: --memory: ${message}`], files(''));
    }
    const options = ['--memory', '3M', '--huge-pages', '2M'];
    // For check, the pages themselves may be missing too.
    const lines = ['mvm: --memory: must be even with huge_pages "2M", not 3'];
    await fails(t, ['run', '-k', 'kernel', ...options], USAGE, lines, files(''));
  });

  test.serial(`${command}: memory of more than the host has`, async (t) => {
    const text = `{"boot-source": {"kernel_image_path": "kernel"}, "machine-config": {"mem_size_mib": ${TOO_MUCH_MIB}}}`;
    const line =
      /\/machine-config\/mem_size_mib: guest memory of .* is more than this host has \(.*\); give the guest less$/;
    await fails(t, [command, 'vm.json'], HOST_UNABLE, [line], files(text));
    const options = ['-k', 'kernel', '--memory', `${TOO_MUCH_MIB}M`];
    await fails(t, [command, ...options], HOST_UNABLE, [/is more than this host has/], files(''));
  });

  test.serial(`${command}: a configuration that is missing, a directory, or endless`, async (t) => {
    await fails(t, [command, 'vm.json'], BAD_CONFIG, ['mvm: vm.json: there is no such file']);
    await fails(t, [command, '.'], BAD_CONFIG, ['mvm: .: is a directory, not a file']);
    const endless = 'mvm: /dev/zero: has more than 4 MiB: it is no configuration';
    await fails(t, [command, '/dev/zero'], BAD_CONFIG, [endless]);
  });

  test.serial(`${command}: a configuration on standard input`, async (t) => {
    const from = (stdin: string) => ({ stdin });
    const unfinished = "mvm: <stdin>:1:2: is not JSON: expected property name or '}'";
    await fails(t, [command, '-'], BAD_CONFIG, [unfinished], from('{'));
    await fails(t, [command, '-'], BAD_CONFIG, ['mvm: <stdin>:1:1: is not JSON: the text is empty'], from(''));
    await fails(t, [command, '-'], BAD_CONFIG, ['mvm: <stdin>:1:1: /boot-source: is missing'], from('{}'));
    await fails(t, ['-q', command, '-'], BAD_CONFIG, [unfinished], from('{'));
  });
}

test.serial('check reports files and values together, in the order of the text', async (t) => {
  const text = `{
  "boot-source": {
    "kernel_image_path": "vmlinux",
    "initrd_path": "empty",
    "boot_args": "${'x'.repeat(3000)}"
  },
  "machine-config": { "vcpu_count": 33 },
  "serial": { "serial_out_path": "no/where.log" },
  "logger": { "log_path": "kernel", "level": "Loud" }
}`;
  await fails(
    t,
    ['check', 'vm.json'],
    BAD_CONFIG,
    [
      /^mvm: vm\.json:3:26: \/boot-source\/kernel_image_path: .*\/vmlinux: no such file; check the path$/,
      /^mvm: vm\.json:4:20: \/boot-source\/initrd_path: .*\/empty: the initrd is empty; /,
      /^mvm: vm\.json:5:18: \/boot-source\/boot_args: the kernel command line is too long: 3000 characters/,
      'mvm: vm.json:7:37: /machine-config/vcpu_count: must be at most 32, not 33',
      /^mvm: vm\.json:8:34: \/serial\/serial_out_path: .*\/no\/where\.log: cannot be written: there is no such directory$/,
      'mvm: vm.json:9:46: /logger/level: must be one of Off, Error, Warning, Info, Debug and Trace, not "Loud"',
    ],
    { files: { 'vm.json': text, empty: '', kernel } },
  );
});

test.serial('check refuses what is no kernel, and what does not fit', async (t) => {
  const files = { kernel, text: 'Hello\n', cut: kernel.subarray(0, 80), initrd: new Uint8Array(3 << 20).fill(1) };
  const refuses = async (args: readonly string[], line: RegExp) =>
    await fails(t, ['check', ...args], BAD_CONFIG, [line], { files });
  await refuses(['-k', 'text'], /^mvm: --kernel: .*\/text: this is no kernel/);
  await refuses(['-k', 'cut'], /^mvm: --kernel: .*\/cut: .* cut off/);
  await refuses(['-k', 'initrd'], /^mvm: --kernel: .*\/initrd: this is no kernel/);
  await refuses(
    ['-k', 'kernel', '-m', '1M'],
    /^mvm: --kernel: .*\/kernel: the kernel needs guest memory up to 0x100004/,
  );
  await refuses(
    ['-k', 'kernel', '-m', '4M', '-i', 'initrd'],
    /^mvm: --initrd: .*\/initrd: the initrd \(3 MiB\) does not fit/,
  );
});

test.serial('with --log-format json, each problem is an object in a line', async (t) => {
  const text = '{"boot-source": {"kernel_image_path": "kernel", "a": 1}, "machine-config": {"vcpu_count": 33}}';
  const cwd = directoryWith(t, { 'vm.json': text, kernel });
  for (const command of ['run', 'check']) {
    const { code, stdout, stderr } = await mvm([command, 'vm.json', '--log-format', 'json'], { cwd });
    t.is(code, BAD_CONFIG);
    t.is(stdout, '');
    const problems = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, string>);
    t.true(problems.every(({ time }) => !Number.isNaN(Date.parse(time!))));
    t.deepEqual(
      problems.map(({ time: _time, ...others }) => others),
      [
        {
          level: 'Error',
          where: 'vm.json:1:49: /boot-source/a',
          message: 'unknown key',
          hint: 'known keys are kernel_image_path, initrd_path, boot_args',
        },
        { level: 'Error', where: 'vm.json:1:91: /machine-config/vcpu_count', message: 'must be at most 32, not 33' },
      ],
    );
  }
});

test.serial('names from outside cannot forge a line or drive a terminal', async (t) => {
  await fails(t, ['run', 'a\u001b[31m\nmvm: all is well.json'], BAD_CONFIG, [
    'mvm: a [31m mvm: all is well.json: there is no such file',
  ]);
});

test.serial('a wrong command line is one line, with the nearest right one', async (t) => {
  const wrong: readonly (readonly [args: readonly string[], line: string])[] = [
    [[], 'mvm: no command was given; see --help'],
    [['rnu'], 'mvm: unknown command "rnu"; did you mean run? see --help'],
    [['run', '--krenel', 'x'], 'mvm: unknown option --krenel; did you mean --kernel?'],
    [['run', '--kernel'], 'mvm: not enough arguments following: kernel; see --help'],
    [['run', 'a.json', 'b.json'], 'mvm: unexpected argument "b.json"; see --help'],
    [['run', '-X'], 'mvm: unknown option -X; see --help'],
    [['run'], 'mvm: --kernel: is missing; give it, or a configuration file'],
    [['run', '-k', 'k', '--id', 'a b'], 'mvm: --id: must be 1 to 64 letters, digits and "-", not "a b"'],
    [['check'], 'mvm: nothing to check; name a configuration file, or give --kernel'],
    [['doctor', '--jsno'], 'mvm: unknown option --jsno; did you mean --json?'],
    [['schema', 'x'], 'mvm: unexpected argument "x"; see --help'],
  ];
  for (const [args, line] of wrong) await fails(t, args, USAGE, [line]);
});

test.serial('with --log-format json, a wrong command line is an object too', async (t) => {
  const { code, stderr, stdout } = await mvm(['rnu', '--log-format=json']);
  t.is(code, USAGE);
  t.is(stdout, '');
  t.like(JSON.parse(stderr), {
    level: 'Error',
    message: 'unknown command "rnu"',
    hint: 'did you mean run? see --help',
  });
});

test.serial('standard output that was closed early is one line, and its exit code', async (t) => {
  const cwd = directoryWith(t);
  const fifo = join(cwd, 'fifo');
  execFileSync('mkfifo', [fifo]);
  for (const args of [['schema'], ['doctor'], ['--help'], ['run', '--help'], ['--version'], ['completion', 'bash']]) {
    // A pipe whose reader went: opened, and closed once there is a writer.
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const stdout = openSync(fifo, constants.O_WRONLY);
    closeSync(reader);
    await fails(t, args, OUTPUT_FAILED, ['mvm: standard output: its reader closed it early'], { cwd, stdout });
    closeSync(stdout);
  }
});

test.serial('standard output on a full disk is one line, and its exit code', async (t) => {
  const stdout = openSync('/dev/full', 'w');
  await fails(t, ['schema'], OUTPUT_FAILED, ['mvm: standard output: the disk is full'], { stdout });
  closeSync(stdout);
});

test.serial('--debug shows where an error comes from, and only then', async (t) => {
  const { code, stderr } = await mvm(['run', 'none.json', '--debug'], { cwd: directoryWith(t) });
  t.is(code, BAD_CONFIG);
  t.regex(stderr, /^mvm: none\.json: there is no such file\n\S.*\n +at /);
});
