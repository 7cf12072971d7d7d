import test from 'ava';
import { type GuestOptions, guestCmdline, prepareGuest } from '../../fixtures/prepare.ts';
import { ExitCode } from '../../lib/errors.ts';
import { Mvm, type MvmResult, runMvm } from '../helpers/mvm.ts';

// Real guests on the real KVM, in the executable that users get. Where the host emulates guest kernels a boot takes seconds and
// a system call of the guest milliseconds, so each boot shows several things, and the guests of one test run one after another.

const guest = await prepareGuest();

interface Boot extends GuestOptions {
  /** Options of `mvm run`. */
  readonly options?: readonly string[];
  /** An initramfs with a shell. */
  readonly shell?: boolean;
  /** What to boot. Default: the ELF `vmlinux`. */
  readonly kernel?: string;
}

function args({ options = [], shell = false, kernel = guest.kernel, ...guestOptions }: Boot): string[] {
  const initrd = shell ? guest.shellInitrd : guest.initrd;
  return ['run', '--kernel', kernel, '--initrd', initrd, '--cmdline', guestCmdline(guestOptions), ...options];
}

function boot(what: Boot): Promise<MvmResult> {
  return runMvm(args(what));
}

for (const cpus of [1, 2, 4]) {
  test.serial(`a guest with ${cpus} vCPUs finds them, runs on each, and powers off`, async (t) => {
    await using mvm = new Mvm(args({ actions: ['cpus', 'poweroff'], options: ['--cpus', String(cpus)] }));
    const firstLine = await mvm.waitFor(/^Linux /m);
    const { code, stdout, stderr, elapsed } = await mvm.end();
    t.log(
      `first line of user space after ${(firstLine / 1000).toFixed(1)} s, end after ${(elapsed / 1000).toFixed(1)} s`,
    );
    t.is(code, ExitCode.Ok, stderr);
    t.is(stderr, '');
    t.regex(stdout, new RegExp(`^CPUs: ${cpus}$`, 'm'));
    const all = Array.from({ length: cpus }, (_, cpu) => ` ${cpu}`).join('');
    t.regex(stdout, new RegExp(`^ran on CPU${all}$`, 'm'));
  });
}

test.serial('the same kernel boots as a bzImage, with ACPI off', async (t) => {
  const { code, stdout, stderr } = await boot({ kernel: guest.bzImage, actions: ['reboot'], extra: ['acpi=off'] });
  t.is(code, ExitCode.Ok, stderr);
  t.regex(stdout, /^CPUs: 1$/m);
});

test.serial('a guest with 5 GiB has memory on both sides of the hole', async (t) => {
  const { code, stdout, stderr } = await boot({ actions: ['touch=8', 'poweroff'], options: ['--memory', '5G'] });
  t.is(code, ExitCode.Ok, stderr);
  const kib = Number(/^memory: (\d+) KiB$/m.exec(stdout)?.[1]);
  t.true(kib > 4.7 * 2 ** 20 && kib <= 5 * 2 ** 20, `${kib} KiB`);
  t.regex(stdout, /^touched 8 MiB$/m);
});

test.serial('what is typed reaches a program in the guest, and its output comes back', async (t) => {
  await using mvm = new Mvm(args({ actions: ['echo', 'shell'], shell: true }));
  await mvm.waitFor(/^type a line/m);
  mvm.type('grüße, guest\n');
  await mvm.waitFor(/^echo: /m);
  // The prompt, and what busybox asks the terminal for behind it: where its cursor is (ESC [6n).
  await mvm.waitFor(/# \S*$/);
  mvm.type('echo $((6 * 7)) is the answer; exit\n');
  const { code, stdout, stderr } = await mvm.end();
  t.is(code, ExitCode.Ok, stderr);
  t.true(stdout.includes(`echo: ${Buffer.from('grüße, guest').toString('latin1')}`), stdout);
  t.regex(stdout, /^42 is the answer\r?$/m);
});

test.serial('nothing of 64 KiB that the guest prints is lost', async (t) => {
  const { code, stdout, stderr } = await boot({ actions: ['print=64', 'poweroff'] });
  t.is(code, ExitCode.Ok, stderr);
  const lines = stdout.split('\n').map((line) => line.replace(/\r$/, ''));
  const numbered = lines.filter((line) => /^\d{8} /.test(line));
  t.is(numbered.length, (64 * 1024) / 64);
  for (const [i, line] of numbered.entries()) {
    t.is(line, `${String(i).padStart(8, '0')} ${String.fromCharCode(97 + (i % 26)).repeat(54)}`);
  }
});

const ENDINGS: readonly (GuestOptions & { name: string; code: number; message?: RegExp })[] = [
  { name: 'reset by the keyboard controller', actions: ['reboot'], reboot: 'keyboard-controller', code: ExitCode.Ok },
  { name: 'reset by ACPI', actions: ['reboot'], reboot: 'acpi', code: ExitCode.Ok },
  {
    name: 'triple fault',
    actions: ['reboot'],
    reboot: 'triple-fault',
    code: ExitCode.GuestCrashed,
    message: /^mvm: the guest crashed with a triple fault at 0x[0-9a-f]+\n$/,
  },
  {
    name: 'panic',
    actions: ['panic'],
    code: ExitCode.GuestCrashed,
    message: /mvm: the guest's kernel panicked; its console tells why\n$/,
  },
];

for (const { name, code, message, ...what } of ENDINGS) {
  test.serial(`the guest ends by ${name}`, async (t) => {
    const result = await boot(what);
    t.is(result.code, code, result.stderr);
    t.regex(result.stdout, /^Linux /m);
    if (message === undefined) t.is(result.stderr, '');
    else t.regex(result.stderr, message);
  });
}

for (const [signal, code] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
  ['SIGHUP', 129],
] as const) {
  test.serial(`${signal} ends a guest that ${signal === 'SIGTERM' ? 'spins' : 'idles'}`, async (t) => {
    await using mvm = new Mvm(args({ actions: [signal === 'SIGTERM' ? 'spin' : 'idle'], options: ['--cpus', '2'] }));
    await mvm.waitFor(/^CPUs: 2/m);
    mvm.process.kill(signal);
    const result = await mvm.end();
    t.is(result.code, code);
    t.is(result.stderr, '');
  });
}
