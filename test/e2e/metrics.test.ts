import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { guestCmdline, prepareGuest } from '../../fixtures/prepare.ts';
import { ExitCode } from '../../lib/errors.ts';
import { temporaryDirectory } from '../console/programs.ts';
import { printedLines } from '../helpers/guest-text.ts';
import { Mvm } from '../helpers/mvm.ts';

type Report = { readonly utc_timestamp_ms: number } & Readonly<Record<string, Readonly<Record<string, number>>>>;

const guest = await prepareGuest();

test('counters of a guest: a line on SIGUSR1 and one at the end, which begins where the other ended', async (t) => {
  const directory = temporaryDirectory(t);
  const image = join(directory, 'data.img');
  const file = join(directory, 'metrics.json');
  const data = printedLines(256);
  writeFileSync(image, data);
  const actions = ['mount=devtmpfs:none:/dev', 'sum=/dev/vda', 'echo', 'random=/dev/hwrng', 'poweroff'];
  const config = {
    'boot-source': { kernel_image_path: guest.kernel, initrd_path: guest.initrd, boot_args: guestCmdline({ actions }) },
    drives: [{ drive_id: 'data', path_on_host: image, is_root_device: false, is_read_only: true }],
    entropy: {},
    metrics: { metrics_path: file },
  };
  const path = join(directory, 'vm.json');
  writeFileSync(path, JSON.stringify(config));
  await using mvm = new Mvm(['run', path]);
  const reports = () =>
    readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Report);
  await mvm.waitFor(/^type a line/m);
  mvm.process.kill('SIGUSR1');
  // Well before the minute is over that brings one by itself.
  for (let i = 0; i < 500 && reports().length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 20));
  t.is(reports().length, 1);
  mvm.type('go on\n');
  const { code, stdout, stderr } = await mvm.end();
  t.is(code, ExitCode.Ok, stderr);
  t.is(stderr, '', 'and no debugger listens, as Node would have it');
  const [first, last, ...more] = reports() as [Report, Report];
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
});
