import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { ExitCode } from '../../lib/errors.ts';
import { MIB } from '../../lib/memory/layout.ts';
import { Mvm, type MvmResult } from '../helpers/mvm.ts';
import { makeTap, NetPeer, netGuestArguments } from '../helpers/net-guest.ts';
import { enterNetNamespace } from '../helpers/net-namespace.ts';

// Networks in bulk, by a bare-metal guest, which runs natively everywhere, and a program at the host's end of a tap. One after the other: each
// uses a vCPU, the loop and that program.

const JUMBO = 9000;

const folder = mkdtempSync(join(tmpdir(), 'mvm-bulk-net-'));
test.after.always(() => rmSync(folder, { recursive: true }));
test.beforeEach((t) => {
  t.timeout(300_000);
});
const config = join(folder, 'vm.json');

test.before(() => {
  enterNetNamespace();
  makeTap({ mtu: JUMBO, queueLength: 10_000 });
});

const INDIRECT_DESC = 2 ** 28;
const EVENT_IDX = 2 ** 29;
const MRG_RXBUF = 2 ** 15;

for (const transport of ['mmio', 'pci'] as const) {
  for (const [name, bytes, length, parameters] of [
    ['1 GB each way at once in frames of 1500 bytes', 1e9, 1500, `features=${INDIRECT_DESC | EVENT_IDX} split=1`],
    ['100 MB each way at once, without features of the ring', 1e8, 1500, 'features=0'],
    [
      '1 GB each way at once in jumbo frames, each in several buffers (MRG_RXBUF)',
      1e9,
      JUMBO,
      `features=${INDIRECT_DESC | EVENT_IDX | MRG_RXBUF} buffer=2048`,
    ],
  ] as const) {
    test.serial(`${name}, on virtio-${transport}: all of it arrives as it was sent`, async (t) => {
      const count = Math.ceil(bytes / length);
      await using peer = new NetPeer('transfer', String(count), String(count), String(length));
      await peer.waitFor(/^ready$/m);
      const cmdline = `mode=transfer send=${count} take=${count} length=${length} ${parameters}`;
      await using mvm = new Mvm(netGuestArguments({ config, transport, cmdline }));
      const { code, stdout, stderr } = await mvm.end();
      t.is(code, ExitCode.Ok, stderr);
      t.is(stderr, '');
      const [host] = await peer.waitFor(/^sent=.*$/m);
      for (const line of [host, /^sent=.*$/m.exec(stdout)?.[0]]) {
        t.regex(
          line ?? '',
          new RegExp(`^sent=${count} resent=\\d+ received=${count} bytes=${count * length} wrong=0 `),
        );
      }
      t.log(host);
      t.log(stdout.split('\n').at(-2));
    });
  }
}

/** Lets a guest send or take frames. @returns how it ended, and seconds from the first that counts to the last */
async function measure(
  cmdline: string,
  network: Record<string, unknown>,
  fill?: number,
): Promise<MvmResult & { took: number }> {
  await using mvm = new Mvm(netGuestArguments({ config, cmdline, network }));
  await mvm.waitFor(/^ready/m);
  if (fill !== undefined) {
    await using peer = new NetPeer('fill', String(fill), '1500');
    await peer.waitFor(/^filled$/m);
  }
  mvm.type('\n');
  const start = await mvm.waitFor(/^start/m);
  const end = await mvm.waitFor(/^end/m);
  return { ...(await mvm.end()), took: (end - start) / 1000 };
}

// A bucket begins full: as many frames as it holds go first, and do not count. The rest has to take as long as the limit says.
for (const [what, limiter, bucket, rate] of [
  ['2.5 MiB a second', { bandwidth: { size: MIB, refill_time: 400 } }, MIB / 1500, (2.5 * MIB) / 1500],
  ['400 frames a second', { ops: { size: 40, refill_time: 100 } }, 40, 400],
] as const) {
  const seconds = 2;
  const warmup = Math.ceil(bucket);
  const count = Math.round(rate * seconds);
  const frames = `length=1500 warmup=${warmup} count=${count}`;

  test.serial(`a guest limited to send ${what} keeps within a tenth of it`, async (t) => {
    const { code, stdout, stderr, took } = await measure(`mode=blast ${frames}`, { tx_rate_limiter: limiter });
    t.is(code, ExitCode.Ok, stderr);
    t.regex(stdout, new RegExp(`^frames=${count} `, 'm'));
    t.true(took > seconds * 0.9 && took < seconds * 1.1, `${took} s instead of ${seconds}`);
  });

  test.serial(`a guest limited to receive ${what} keeps within a tenth of it`, async (t) => {
    const { code, stdout, stderr, took } = await measure(
      `mode=drain ${frames}`,
      { rx_rate_limiter: limiter },
      warmup + count,
    );
    t.is(code, ExitCode.Ok, stderr);
    t.regex(stdout, new RegExp(`^frames=${count} wrong=0 `, 'm'));
    t.true(took > seconds * 0.9 && took < seconds * 1.1, `${took} s instead of ${seconds}`);
  });
}
