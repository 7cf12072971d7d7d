import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { ExitCode } from '../../lib/errors.ts';
import { MIB } from '../../lib/memory/layout.ts';
import { LinuxGuests } from '../helpers/linux/guests.ts';
import type { Mvm } from '../helpers/mvm.ts';

// The balloon as Linux's driver uses it, in the executable that users get, and what the host sees of it.

const guests = new LinuxGuests();
test.after.always(() => guests.remove());

/** Guest memory that is resident on the host now, and was at most, with all else that mvm has: /proc/PID/status, in bytes. */
function resident(mvm: Mvm): { now: number; most: number } {
  const status = readFileSync(`/proc/${mvm.process.pid}/status`, 'latin1');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
  return { now: field('VmRSS'), most: field('VmHWM') };
}

/** Waits until so many bytes fewer are resident than were before, and no more are given back. The test's time limit ends the wait. */
async function givenBack(mvm: Mvm, before: number, bytes: number): Promise<void> {
  for (let last = Number.POSITIVE_INFINITY; ; ) {
    const { now } = resident(mvm);
    if (before - now >= bytes && now >= last) return;
    last = now;
    await sleep(2000);
  }
}

/** What the device counted by the end, from the last line of the file of metrics. */
function balloonMetrics(path: string): Record<string, number> {
  const last = readFileSync(path, 'utf8').trimEnd().split('\n').at(-1)!;
  return (JSON.parse(last) as { balloon: Record<string, number> }).balloon;
}

test.serial(
  'memory that the guest gives up leaves the host, and comes back when the guest runs out of it',
  async (t) => {
    const metrics = guests.file('inflated.json');
    await using mvm = await guests.start({
      memoryMib: 128,
      actions: [
        'mount=proc:none:/proc',
        // The guest uses memory before it gives up some.
        ...['unbind=virtio0', 'touch=76', 'echo'],
        ...['bind=virtio0', 'echo'],
        ...['free', 'touch=20', 'poweroff'],
      ],
      sections: {
        balloon: { amount_mib: 100, deflate_on_oom: true, stats_polling_interval_s: 1 },
        metrics: { metrics_path: metrics },
      },
    });
    await mvm.waitFor(/^type a line/m);
    const before = resident(mvm).now;
    t.true(before >= 76 * MIB);
    mvm.type('\n');
    await givenBack(mvm, before, 64 * MIB);
    await mvm.waitFor(/^type a line.*^type a line/ms);
    mvm.type('\n');
    const { code, stdout, stderr } = await mvm.end();
    t.is(code, ExitCode.Ok, stderr);
    t.is(stderr, '');
    const free = Number(/^free: (\d+) of/m.exec(stdout)?.[1]) / 1024;
    t.true(free < 20, `${free} MiB are free`);
    t.regex(stdout, /^touched 20 MiB\r?$/m, 'more than was free');
    const { inflate_count, deflate_count, stats_updates_count, stats_update_fails } = balloonMetrics(metrics);
    t.true(inflate_count! > 0 && deflate_count! > 0);
    t.true(stats_updates_count! > 1, 'the guest tells of its memory each second');
    t.is(stats_update_fails, 0);
  },
);

test.serial('free pages that the guest reports leave the host', async (t) => {
  const metrics = guests.file('reported.json');
  await using mvm = await guests.start({
    // Linux reports nothing where fewer than 32 blocks of 4 MiB are free.
    memoryMib: 256,
    actions: ['touch=40', 'idle'],
    sections: {
      balloon: { amount_mib: 0, deflate_on_oom: false, free_page_reporting: true },
      metrics: { metrics_path: metrics },
    },
  });
  await mvm.waitFor(/^touched 40 MiB/m);
  const { most } = resident(mvm);
  // Blocks of which a page is in use are kept.
  await givenBack(mvm, most, 16 * MIB);
  mvm.process.kill('SIGTERM');
  const { code, stderr } = await mvm.end();
  t.is(code, 143);
  t.is(stderr, '');
  const { free_page_report_freed, free_page_report_fails } = balloonMetrics(metrics);
  t.true(free_page_report_freed! >= 16 * MIB);
  t.is(free_page_report_fails, 0);
});
