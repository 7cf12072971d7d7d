import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { guestCmdline, prepareGuest } from '../../fixtures/prepare.ts';
import { ExitCode } from '../../lib/errors.ts';
import { temporaryDirectory } from '../console/programs.ts';
import { printedLines } from '../helpers/guest-text.ts';
import { folderFor, Jailed } from '../helpers/jail.ts';
import { Mvm } from '../helpers/mvm.ts';

type Report = { readonly utc_timestamp_ms: number } & Readonly<Record<string, Readonly<Record<string, number>>>>;

const guest = await prepareGuest();

/** The reports in a file, of which there may be none yet. */
function reportsIn(file: string): Report[] {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as Report);
}

/** Asks for a report, and waits for it: well below the minute after which one comes by itself. */
async function askForReport(mvm: Mvm, file: string): Promise<void> {
  const before = reportsIn(file).length;
  mvm.process.kill('SIGUSR1');
  for (let i = 0; i < 500 && reportsIn(file).length === before; i++) await sleep(20);
}

test.serial('in a jail too: the signal is passed on to the mvm that is in there', async (t) => {
  const base = folderFor(t);
  const file = join(base, 'metrics.json');
  await using jailed = new Jailed(base, 'one', ['--kernel', buildGuest('spin'), '--metrics-path', file]);
  await jailed.waitFor(/spinning\r?\n/);
  await askForReport(jailed, file);
  t.is(reportsIn(file).length, 1);
  jailed.process.kill('SIGTERM');
  t.is((await jailed.end()).code, 143);
  const [first, last] = reportsIn(file) as [Report, Report];
  t.true(first.uart!.write_count! > 0);
  t.is(last.uart!.write_count, 0);
});

test.serial(
  'counters of a guest: a line on SIGUSR1 and one at the end, which begins where the other ended',
  async (t) => {
    const directory = temporaryDirectory(t);
    const image = join(directory, 'data.img');
    const file = join(directory, 'metrics.json');
    const data = printedLines(256);
    writeFileSync(image, data);
    const actions = ['mount=devtmpfs:none:/dev', 'sum=/dev/vda', 'echo', 'random=/dev/hwrng', 'poweroff'];
    const config = {
      'boot-source': {
        kernel_image_path: guest.kernel,
        initrd_path: guest.initrd,
        boot_args: guestCmdline({ actions }),
      },
      drives: [{ drive_id: 'data', path_on_host: image, is_root_device: false, is_read_only: true }],
      entropy: {},
      metrics: { metrics_path: file },
    };
    const path = join(directory, 'vm.json');
    writeFileSync(path, JSON.stringify(config));
    await using mvm = new Mvm(['run', path]);
    await mvm.waitFor(/^type a line/m);
    await askForReport(mvm, file);
    t.is(reportsIn(file).length, 1);
    mvm.type('go on\n');
    const { code, stdout, stderr } = await mvm.end();
    t.is(code, ExitCode.Ok, stderr);
    t.is(stderr, '', 'and no debugger listens, as Node would have it');
    const [first, last, ...more] = reportsIn(file) as [Report, Report];
    t.deepEqual(more, []);
    t.true(first.block_data!.read_bytes! >= data.length);
    t.deepEqual(first.block_data, first.block);
    t.is(last.block!.read_bytes, 0);
    t.is(first.block!.driver_faults, 0);
    t.true(first.entropy!.entropy_bytes! + last.entropy!.entropy_bytes! >= 16);
    t.is(first.uart!.write_count! + last.uart!.write_count!, stdout.length);
    t.is(first.uart!.read_count! + last.uart!.read_count!, 'go on\n'.length);
    for (const kind of ['exit_io_in', 'exit_io_out', 'exit_mmio_read', 'exit_mmio_write', 'exits']) {
      t.true(first.vcpu![kind]! > 0, kind);
    }
    t.is(last.vcpu!.failures, 0);
    t.is(last.i8042!.reset_count, 0);
    // As Firecracker does, also what is not there is shown.
    for (const group of ['balloon', 'net', 'vsock', 'seccomp', 'logger']) {
      t.true(
        Object.values(first[group]!).every((value) => value === 0),
        group,
      );
    }
    t.true(last.utc_timestamp_ms >= first.utc_timestamp_ms);
  },
);
