/**
 * The host of a guest on a tap, as a program: started by the test in a user and network namespace of its own, which needs no privileges and
 * goes with it. It makes the tap, starts mvm, and talks with the guest; what it saw it prints as JSON.
 */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { printedLines, sumOf } from '../guest-text.ts';
import { Mvm } from '../mvm.ts';
import { call, echoOnce } from './echo.ts';

const [config] = process.argv.slice(2) as [string];
const HOST = '10.9.0.1';
const GUEST = '10.9.0.2';
const ip = (...args: string[]) => execFileSync('ip', args);

/** What one end of a connection got from the other. */
export interface Transfers {
  readonly pings: string;
  /** The guest called, and the host echoed: what came. */
  readonly called: string;
  /** The host called, and the guest echoed: what came back. */
  readonly served: string;
  /** As `served`, after the guest's driver was unbound and bound. */
  readonly servedAgain: string;
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

ip('tuntap', 'add', 'dev', 'tap0', 'mode', 'tap', 'vnet_hdr');
ip('address', 'add', `${HOST}/24`, 'dev', 'tap0');
ip('link', 'set', 'tap0', 'up');
const fromGuest = await echoOnce({ host: HOST, port: 7000 });
await using mvm = new Mvm(['run', config]);
// Whoever gives up on us ends mvm too.
process.on('SIGTERM', () => {
  mvm.process.kill('SIGKILL');
  process.exit(1);
});
mvm.process.stdin.end();
await mvm.waitFor(/^sent: /m);
const ping = ['-c', '3', '-s', '1400', '-W', '20', GUEST];
const pings = (await promisify(execFile)('ping', ping)).stdout;
await mvm.waitFor(/^listening$/m);
const served = await call({ host: GUEST, port: 7001 }, printedLines(256));
await mvm.waitFor(/^listening$.*^listening$/ms);
const servedAgain = await call({ host: GUEST, port: 7002 }, printedLines(64));
const { code, stdout, stderr } = await mvm.end();
const seen: Transfers = {
  pings,
  called: sumOf('sent', await fromGuest.came),
  served: sumOf('echoed', served),
  servedAgain: sumOf('echoed', servedAgain),
  code,
  stdout,
  stderr,
};
process.stdout.write(JSON.stringify(seen));
