import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import type { Transport } from '../../lib/config/types.ts';
import { ExitCode } from '../../lib/errors.ts';
import { MIB } from '../../lib/memory/layout.ts';
import { LinuxGuests } from '../helpers/linux/guests.ts';
import { runMvm } from '../helpers/mvm.ts';

// What a running machine costs: exits while devices work, wake-ups while they do not.

const TRANSPORTS: readonly Transport[] = ['mmio', 'pci'];

const guests = new LinuxGuests();
test.after.always(() => guests.remove());

interface Counts {
  /** Exits that reached mvm. */
  readonly exits: number;
  readonly kicks: number;
  readonly interrupts: number;
}

/** A guest asks its entropy device so many times, and waits for interrupts. */
async function askForEntropy(transport: Transport, count: number): Promise<Counts> {
  const path = guests.file('entropy.json');
  const boot = { kernel_image_path: buildGuest('virtio'), boot_args: `wait=irq count=${count}` };
  writeFileSync(path, JSON.stringify({ 'boot-source': boot, 'machine-config': { transport }, entropy: {} }));
  const { code, stdout, stderr } = await runMvm(['run', path, '--debug']);
  if (code !== ExitCode.Ok || !stdout.includes(`${count} chains`)) throw new Error(`${stdout}\n${stderr}`);
  const number = (text: string, pattern: RegExp) => Number(pattern.exec(text)![1]);
  return {
    exits: number(stderr, /"exits":(\d+)/),
    kicks: number(stdout, /kicks (\d+)/),
    interrupts: number(stdout, /interrupts (\d+)/),
  };
}

for (const transport of TRANSPORTS) {
  test.serial(`${transport}: exits that thousands of requests with interrupts cost`, async (t) => {
    const few = await askForEntropy(transport, 2000);
    const many = await askForEntropy(transport, 8000);
    const exits = many.exits - few.exits;
    const interrupts = many.interrupts - few.interrupts;
    t.log(`${exits} exits, ${many.kicks - few.kicks} notifications, ${interrupts} interrupts for 6000 requests`);
    t.true(many.interrupts > 50);
    t.true(many.kicks > 10);
    // What is left is the console's: more digits to print.
    if (transport === 'pci') t.true(Math.abs(exits) < 20, 'notifications and interrupts reach nobody');
    // virtio-mmio has its status read and acknowledged at each interrupt; this shows that such would be counted.
    else t.true(exits > interrupts, 'interrupts cost exits');
  });
}

/** Voluntary context switches of each thread that is not a vCPU's, which its guest's timers wake. */
function contextSwitches(pid: number): Map<string, number> {
  const switches = new Map<string, number>();
  const nameOf = (task: string) => readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim();
  const mainName = nameOf(String(pid));
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const name = nameOf(task);
    const isVcpu = Number(task) !== pid && (name === mainName || /vcpu/i.test(name));
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
    if (!isVcpu) switches.set(`${name} ${task}`, Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)![1]));
  }
  return switches;
}

for (const transport of TRANSPORTS) {
  test.serial(`${transport}: while the guest is idle, nothing wakes up`, async (t) => {
    t.timeout(120_000);
    const image = guests.file('disk.img');
    writeFileSync(image, '');
    truncateSync(image, MIB);
    await using mvm = await guests.start({
      transport,
      actions: ['idle'],
      sections: {
        drives: ['Sync', 'Async'].map((io_engine) => {
          return { drive_id: io_engine, path_on_host: image, is_root_device: false, is_read_only: true, io_engine };
        }),
        vsock: { guest_cid: 3, uds_path: guests.file('v.sock') },
        balloon: { amount_mib: 0, deflate_on_oom: true },
        // No entropy device: Linux asks it for bytes every few seconds.
      },
    });
    await mvm.waitFor(/^CPUs: 1/m);
    const pid = mvm.process.pid!;
    let woken: string[] = [];
    // What is left of the start (compilation, garbage collection) may take a while.
    for (let tries = 0; tries < 10; tries++) {
      const before = contextSwitches(pid);
      await sleep(2000);
      const after = contextSwitches(pid);
      woken = [...after].filter(([name, count]) => count !== before.get(name)).map(([name]) => name);
      if (woken.length === 0) break;
    }
    t.deepEqual(woken, []);
    mvm.process.kill('SIGTERM');
    t.is((await mvm.end()).code, 143);
  });
}
