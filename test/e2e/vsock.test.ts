import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import test from 'ava';
import { ExitCode } from '../../lib/errors.ts';
import { printedLines, sumOf } from '../helpers/guest-text.ts';
import { call, echoOnce } from '../helpers/linux/echo.ts';
import { LinuxGuests, line } from '../helpers/linux/guests.ts';

// Host sockets as Linux's AF_VSOCK uses them, in the executable that users get.

const guests = new LinuxGuests();
test.after.always(() => guests.remove());

for (const transport of ['mmio', 'pci'] as const) {
  test.serial(`${transport}: guest and host connect to each other, and echo what comes`, async (t) => {
    const socket = guests.file(`${transport}.sock`);
    const fromGuest = await echoOnce({ path: `${socket}_7000` });
    await using mvm = await guests.start({
      transport,
      actions: [
        'mount=proc:none:/proc',
        ...['connect=vsock:2:7000:256', 'listen=vsock:7001'],
        ...['unbind=virtio0', 'bind=virtio0', 'listen=vsock:7002'],
        'poweroff',
      ],
      sections: { vsock: { guest_cid: 3, uds_path: socket } },
    });
    t.is(sumOf('sent', await fromGuest.came), sumOf('sent', printedLines(256)));
    const callGuest = async (port: number, kib: number) => {
      const answer = await call({ path: socket }, printedLines(kib), `CONNECT ${port}\n`);
      const [hello] = /^OK \d+\n/.exec(answer.toString('latin1')) ?? [''];
      t.is(sumOf('answer', answer.subarray(hello.length)), sumOf('answer', printedLines(kib)));
      t.not(hello, '');
    };
    await mvm.waitFor(/^listening\r?$/m);
    await callGuest(7001, 256);
    // The driver is unbound and bound.
    await mvm.waitFor(/^listening\r?$.*^listening\r?$/ms);
    await callGuest(7002, 64);
    const { code, stdout, stderr } = await mvm.end();
    t.is(code, ExitCode.Ok, stderr);
    t.is(stderr, '');
    t.regex(stdout, line(sumOf('sent', printedLines(256))));
    t.regex(stdout, line(sumOf('echoed', printedLines(256))));
    t.regex(stdout, line(sumOf('echoed', printedLines(64))));
  });
}

test.serial(
  'its socket is there while the guest runs; a port that nobody listens at is refused by the guest',
  async (t) => {
    const socket = guests.file('v.sock');
    await using mvm = await guests.start({
      actions: ['idle'],
      sections: { vsock: { guest_cid: 3, uds_path: socket } },
    });
    await mvm.waitFor(/^CPUs: 1/m);
    const client = connect(socket);
    client.write('CONNECT 1234\n');
    const answer = await text(client);
    t.is(answer, '', 'the guest resets the connection, so the host closes without OK');
    mvm.process.kill('SIGTERM');
    const { code, stderr } = await mvm.end();
    t.is(code, 143);
    t.is(stderr, '');
    t.false(existsSync(socket), 'its file is removed');
  },
);
