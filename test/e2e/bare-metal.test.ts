import test from 'ava';
import { isPvm } from '../../lib/kvm/flavour.ts';
import { runGuest, startGuest } from '../helpers/bare-metal.ts';

// Guests that need no operating system, under the executable file. One after the other: each may use all of the host's cores.
test.beforeEach((t) => {
  t.timeout(120_000);
});

test.serial('a guest that boots by PVH prints its line, and its power-off is exit code 0', async (t) => {
  const { code, stdout, stderr } = await runGuest(t, 'hello', { cmdline: 'one two=2' });
  t.is(stdout, 'hello from bare metal, booted by PVH, command line: one two=2\n');
  t.is(stderr, '');
  t.is(code, 0);
});

test.serial("without the note the guest boots by Linux's 64-bit protocol", async (t) => {
  const { code, stdout } = await runGuest(t, 'hello', { cmdline: 'one', pvhNote: false });
  t.is(stdout, "hello from bare metal, booted by Linux's protocol, command line: one\n");
  t.is(code, 0);
});

test.serial('every port write in a loop arrives', async (t) => {
  for (const port of ['0x3ff', '0x80']) {
    const { code, stdout } = await runGuest(t, 'exits', { cmdline: `count=5000 port=${port}` });
    t.regex(stdout, /^exits=5000 cycles=\d+\n$/);
    t.is(code, 0);
  }
});

test.serial('memory that nobody claims takes writes and reads as ones', async (t) => {
  const written = await runGuest(t, 'mmio-exits', { cmdline: 'count=2000' });
  t.regex(written.stdout, /^exits=2000 cycles=\d+ last=0\n$/);
  const read = await runGuest(t, 'mmio-exits', { cmdline: 'count=2000 read=1' });
  t.regex(read.stdout, /^exits=2000 cycles=\d+ last=ffffffff\n$/);
});

for (const cpl of [3, 0]) {
  test.serial(`a triple fault at CPL ${cpl} is one line and exit code 5`, async (t) => {
    const { code, stdout, stderr } = await runGuest(t, 'triple-fault', { cmdline: `cpl=${cpl}` });
    t.is(stdout, 'triple fault next\n');
    t.regex(stderr, /^mvm: [^\n]*triple fault at 0x[0-9a-f]+\n$/);
    t.is(code, 5);
  });

  for (const [signal, expected] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
    ['SIGHUP', 129],
  ] as const) {
    test.serial(`${signal} ends a guest that spins at CPL ${cpl}`, async (t) => {
      const guest = startGuest(t, 'spin', { cmdline: `cpl=${cpl}` });
      await guest.waitFor('spinning\n');
      guest.child.kill(signal);
      t.is((await guest.end).code, expected);
    });
  }
}

for (const mode of ['off', 'on']) {
  test.serial(`SIGTERM ends a guest that halts with interrupts ${mode}`, async (t) => {
    const guest = startGuest(t, 'hlt', { cmdline: `mode=${mode}` });
    await guest.waitFor('halting\n');
    guest.child.kill('SIGTERM');
    const { code, stdout } = await guest.end;
    t.is(code, 143);
    t.is(stdout, 'halting\n');
  });
}

test.serial("a halted guest is woken by its local APIC's timer", async (t) => {
  const { code, stdout } = await runGuest(t, 'hlt', { cmdline: 'mode=timer count=20' });
  t.is(stdout, 'halting\nwoken 20 times\n');
  t.is(code, 0);
});

for (const [cpus, x2apic, each] of [
  [1, 0, 1],
  [2, 0, 1],
  [4, 1, 1],
  [32, 0, 0],
  [32, 1, 0],
] as const) {
  test.serial(
    `${cpus} vCPUs start by ${x2apic ? "the x2APIC's MSR" : "the local APIC's page"}, each with its APIC id`,
    async (t) => {
      const { code, stdout } = await runGuest(t, 'smp', {
        cpus,
        cmdline: `cpus=${cpus} x2apic=${x2apic} each=${each} settle=200`,
      });
      const ids = [...stdout.matchAll(/^cpu (\d+) here, APIC id (\d+), CPUID's APIC id (\d+)$/gm)].map(
        ([, cpu, id, fromCpuid]) => {
          t.is(id, fromCpuid);
          return [Number(cpu), Number(id)] as const;
        },
      );
      const all = Array.from({ length: cpus }, (_, i) => i);
      const sorted = (which: 0 | 1) => ids.map((pair) => pair[which]).sort((a, b) => a - b);
      t.deepEqual(sorted(0), all);
      t.deepEqual(sorted(1), all);
      t.true(stdout.endsWith(`\n${cpus} cpus\n`));
      t.is(code, 0);
    },
  );
}

test.serial('an instruction that nobody knows ends the guest with its bytes, address and registers', async (t) => {
  const { code, stdout, stderr } = await runGuest(t, 'unknown');
  if (!isPvm()) {
    // CPL 0 runs natively: the processor knows the instruction, or gives the guest #UD.
    t.regex(stdout, /^unknown instruction next\n(exception 6 .*\n)?$/);
    t.is(code, 0);
    return;
  }
  t.is(stdout, 'unknown instruction next\n');
  t.regex(stderr, /^mvm: [^\n]*0f 3a cc c1 02[^\n]* at [^\n]*0x10[0-9a-f]{4}[^\n]*\n$/);
  t.regex(stderr, /rax=0x1122334455667788 rbx=0xfeedface /);
  t.is(code, 5);
});
