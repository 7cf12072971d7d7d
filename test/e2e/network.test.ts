import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'ava';
import type { Transport } from '../../lib/config/types.ts';
import { ExitCode } from '../../lib/errors.ts';
import { printedLines, sumOf } from '../helpers/guest-text.ts';
import { LinuxGuests, line } from '../helpers/linux/guests.ts';
import type { Transfers } from '../helpers/linux/network-peer.ts';

// Networks as Linux uses them, in the executable that users get, without privileges.

const TRANSPORTS: readonly Transport[] = ['mmio', 'pci'];
const PEER = 'test/helpers/linux/network-peer.ts';
/** What unshare(1) makes for the host's end: what is configured in there is seen nowhere else. */
const NAMESPACES = ['--user', '--map-root-user', '--net'];

const guests = new LinuxGuests();
test.after.always(() => guests.remove());

for (const transport of TRANSPORTS) {
  // A boot takes seconds, so one shows all.
  let transfers: Promise<Transfers> | undefined;
  const run = async (): Promise<Transfers> => {
    const config = await guests.configure({
      transport,
      parameters: ['ip=10.9.0.2::10.9.0.1:255.255.255.0::eth0:off'],
      actions: [
        'mount=proc:none:/proc',
        'connect=tcp:10.9.0.1:7000:256',
        'listen=tcp:7001',
        ...['unbind=virtio0', 'bind=virtio0', 'set-address=eth0:10.9.0.2', 'listen=tcp:7002'],
        'poweroff',
      ],
      sections: {
        'network-interfaces': [{ iface_id: 'eth0', host_dev_name: 'tap0', guest_mac: '06:00:0a:09:00:02' }],
      },
    });
    const { stdout } = await promisify(execFile)('unshare', [...NAMESPACES, process.execPath, PEER, config], {
      timeout: 120_000,
    });
    return JSON.parse(stdout) as Transfers;
  };
  const once = () => {
    transfers ??= run();
    return transfers;
  };

  test.serial(`${transport}: a guest on a tap answers pings, and mvm ends with it`, async (t) => {
    const { pings, code, stderr } = await once();
    t.regex(pings, /^3 packets transmitted, 3 received, 0% packet loss/m);
    t.is(code, ExitCode.Ok);
    t.is(stderr, '');
  });

  test.serial(`${transport}: TCP each way over a tap, every byte as it was sent`, async (t) => {
    const { called, served, stdout } = await once();
    t.is(called, sumOf('sent', printedLines(256)));
    t.regex(stdout, line(called), 'what the host echoed');
    t.is(served, sumOf('echoed', printedLines(256)));
    t.regex(stdout, line(served), 'what the guest got');
  });

  test.serial(`${transport}: the network works again after its driver was unbound and bound`, async (t) => {
    const { servedAgain, stdout } = await once();
    t.is(servedAgain, sumOf('echoed', printedLines(64)));
    t.regex(stdout, line(servedAgain));
  });
}
