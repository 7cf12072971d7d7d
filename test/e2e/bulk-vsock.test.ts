import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { ExitCode } from '../../lib/errors.ts';
import { Mvm } from '../helpers/mvm.ts';
import { Program } from '../helpers/program.ts';

// Host sockets in bulk, by a bare-metal guest, which runs natively everywhere, and programs at the sockets of the host. One after the other: each uses
// a vCPU, the loop and those programs.

const CONNECTIONS = 200;
const GIGABYTE = 1e9;
/** Of each stream; a connection has one each way. Odd, so that no stream ends with a whole packet or word. */
const BYTES = Math.ceil(GIGABYTE / CONNECTIONS / 2) + 1;
const PORT = 5000;
/** Both ends send at once; the host first, then the guest, after the host's half has been closed; and the other way round. */
const ORDERS = [0, 1, 2] as const;

const folder = mkdtempSync(join(tmpdir(), 'mvm-bulk-vsock-'));
test.after.always(() => rmSync(folder, { recursive: true }));
test.beforeEach((t) => {
  t.timeout(300_000);
});
const config = join(folder, 'vm.json');
const socket = join(folder, 'v.sock');

/** A guest whose socket for the host is `socket`. */
function guestArguments(transport: 'mmio' | 'pci', cmdline: string): string[] {
  const machine = {
    'boot-source': { kernel_image_path: buildGuest('vsock'), boot_args: cmdline },
    'machine-config': { vcpu_count: 1, mem_size_mib: 128 },
    vsock: { guest_cid: 3, uds_path: socket },
  };
  writeFileSync(config, JSON.stringify(machine));
  return ['run', '--transport', transport, config];
}

/** Which streams of the host each order has: where they begin, and how many. */
const SHARES = ORDERS.map((order) => {
  const count = Math.floor((CONNECTIONS + ORDERS.length - 1 - order) / ORDERS.length);
  const first = ORDERS.slice(0, order).reduce<number>(
    (sum, before) => sum + Math.floor((CONNECTIONS + ORDERS.length - 1 - before) / ORDERS.length),
    0,
  );
  return { order, first, count };
});

for (const transport of ['mmio', 'pci'] as const) {
  for (const who of ['host', 'guest'] as const) {
    test.serial(`${CONNECTIONS} connections of the ${who} at once, 1 GB, on virtio-${transport}`, async (t) => {
      const cmdline = `port=${PORT} bytes=${BYTES} ${who === 'host' ? 'accept' : 'connect'}=${CONNECTIONS}`;
      await using peers = new AsyncDisposableStack();
      const listen = (): Program[] =>
        SHARES.map(({ order, first, count }) => {
          const at =
            who === 'host' ? ['connect', socket, String(PORT + order)] : ['listen', `${socket}_${PORT + order}`];
          return peers.use(new Program('vsock-peer', [...at, ...[order, first, count, BYTES].map(String)]));
        });
      peers.defer(() => {
        for (const order of ORDERS) rmSync(`${socket}_${PORT + order}`, { force: true });
      });
      let running = who === 'guest' ? listen() : [];
      for (const peer of running) await peer.waitFor(/^ready$/m);
      await using mvm = new Mvm(guestArguments(transport, cmdline));
      await mvm.waitFor(/^ready/m);
      if (who === 'host') running = listen();
      const { code, stdout, stderr } = await mvm.end();
      t.is(code, ExitCode.Ok, stderr);
      t.is(stderr, '');
      const all = `connections=${CONNECTIONS} bytes=${CONNECTIONS * BYTES} wrong=0`;
      t.regex(stdout, new RegExp(`^${all} at_once=${CONNECTIONS} resets=0 unexpected=0 `, 'm'));
      t.log(/^connections=.*$/m.exec(stdout)?.[0]);
      for (const [i, { count }] of SHARES.entries()) {
        const [line] = await running[i]!.waitFor(/^connections=.*$/m);
        t.is(line, `connections=${count} bytes=${count * BYTES} wrong=0`);
      }
    });
  }
}
