/**
 * The host of a guest in a jail, as a program: root starts it in a network namespace, which goes with it and which mvm enters from outside. What it
 * saw it prints as JSON.
 */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { printedLines, sumOf } from '../guest-text.ts';
import { Jailed, ownNamespaces } from '../jail.ts';
import { call, echoOnce } from './echo.ts';

const [config, base, socket, ...more] = process.argv.slice(2) as [string, string, string];

/** What was seen from outside, and what the two ends got from each other. */
export interface Seen {
  readonly pings: string;
  readonly namespaces: readonly string[];
  /** What is in the root directory while the guest runs, at each level. */
  readonly root: readonly string[];
  readonly ownersOfSocket: string;
  readonly descriptors: readonly string[];
  readonly called: string;
  readonly served: string;
  readonly isLeft: boolean;
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

execFileSync('ip', ['tuntap', 'add', 'dev', 'tap0', 'mode', 'tap', 'vnet_hdr']);
execFileSync('ip', ['address', 'add', '10.9.0.1/24', 'dev', 'tap0']);
execFileSync('ip', ['link', 'set', 'tap0', 'up']);
// mvm is started where our parent is.
const outside = ['nsenter', `--net=/proc/${process.ppid}/ns/net`];
await using jailed = new Jailed(base, 'one', [config, '--netns', `/proc/${process.pid}/ns/net`, ...more], outside);
process.on('SIGTERM', () => {
  jailed.process.kill('SIGKILL');
  process.exit(1);
});
await jailed.waitFor(/^type a line/m);
const path = join(jailed.root, socket);
// Who waits for the guest does so in the jail's root directory.
const fromGuest = await echoOnce({ path: `${path}_7000` });
execFileSync('chmod', ['777', `${path}_7000`]);
const { pid } = jailed;
const namespaces = ownNamespaces(pid);
const descriptors = readdirSync(`/proc/${pid}/fd`).map((fd) =>
  execFileSync('stat', ['-Lc', '%F', `/proc/${pid}/fd/${fd}`], { encoding: 'utf8' }).trim(),
);
const root = execFileSync('find', ['.', '-mindepth', '1'], { cwd: jailed.root, encoding: 'utf8' })
  .trim()
  .split('\n')
  .sort();
const ownersOfSocket = execFileSync('stat', ['-c', '%u:%g', path], { encoding: 'utf8' }).trim();
jailed.type('hello, jail\n');
await jailed.waitFor(/^sent: /m);
const pings = (await promisify(execFile)('ping', ['-c', '3', '-s', '1400', '-W', '20', '10.9.0.2'])).stdout;
await jailed.waitFor(/^listening\r?$/m);
const answer = await call({ path }, printedLines(64), 'CONNECT 7001\n');
const served = answer.subarray(answer.indexOf('\n') + 1);
const { code, stdout, stderr } = await jailed.end();
const seen: Seen = {
  pings,
  namespaces,
  root,
  ownersOfSocket,
  descriptors,
  called: sumOf('sent', await fromGuest.came),
  served: sumOf('echoed', served),
  isLeft: existsSync(join(base, 'mvm')),
  code,
  stdout,
  stderr,
};
process.stdout.write(JSON.stringify(seen));
