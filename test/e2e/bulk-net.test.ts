import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { ExitCode } from '../../lib/errors.ts';
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

// A bucket begins full: as many frames as it holds go first, and do not count. The rest has to take as long as the limit says. The bucket holds
// what a second brings, so that a host that stops us for a moment takes nothing away.
const SECONDS = 2;
const ATTEMPTS = 3;
const RATE = 2000;
for (const [what, limiter] of [
  ['3 MB a second', { bandwidth: { size: RATE * 1500, refill_time: 1000 } }],
  [`${RATE} frames a second`, { ops: { size: RATE, refill_time: 1000 } }],
] as const) {
  for (const [verb, mode, key, fill] of [
    ['send', 'blast', 'tx_rate_limiter', undefined],
    ['receive', 'drain', 'rx_rate_limiter', RATE * (1 + SECONDS)],
  ] as const) {
    test.serial(`a guest limited to ${verb} ${what} keeps within a tenth of it`, async (t) => {
      const cmdline = `mode=${mode} length=1500 warmup=${RATE} count=${RATE * SECONDS}`;
      let seconds = Number.POSITIVE_INFINITY;
      // It must never be faster; slower it may be where the host is busy with something else.
      for (let attempt = 0; attempt < ATTEMPTS && seconds > SECONDS * 1.1; attempt++) {
        const { code, stdout, stderr, took } = await measure(cmdline, { [key]: limiter }, fill);
        t.is(code, ExitCode.Ok, stderr);
        t.regex(stdout, new RegExp(`^frames=${RATE * SECONDS} (?:wrong=0 )?cycles=`, 'm'));
        t.true(took > SECONDS * 0.9, `${took} s instead of ${SECONDS}`);
        seconds = took;
      }
      t.true(seconds < SECONDS * 1.1, `${seconds} s instead of ${SECONDS}`);
    });
  }
}
