/**
 * A process that confines itself and tries what is forbidden then: `node confined-child.ts DIRECTORY`. Prints JSON: what each attempt came to.
 */

import { readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import {
  createRuleset,
  LANDLOCK_ACCESS_FS_REMOVE_FILE,
  landlockAbi,
  landlockCall,
} from '../../lib/confine/landlock.ts';
import { NodeThreads } from '../../lib/confine/node-threads.ts';
import { privilegeCalls } from '../../lib/confine/privileges.ts';
import { NativeArena } from '../../lib/loop/arena.ts';

const directory = process.argv[2]!;
const server = createServer().listen(0, '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
const { port } = server.address() as { port: number };

const ruleset = createRuleset([{ path: directory, access: LANDLOCK_ACCESS_FS_REMOVE_FILE }]);
const landlock = ruleset === undefined ? [] : [landlockCall(ruleset)];
const calls = [...privilegeCalls(), ...landlock];
const threads = new NodeThreads(new NativeArena());
threads.confineAll(calls, new Set([process.pid]));
threads.confine(process.pid, calls);

function attempt(action: () => unknown): string {
  try {
    action();
    return 'done';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

const connecting = new Promise<string>((resolve) => {
  const socket = connect(port, '127.0.0.1');
  socket.once('connect', () => resolve('done'));
  socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? String(error)));
});
const status = () => readFileSync('/proc/self/status', 'latin1');
process.stdout.write(
  JSON.stringify({
    abi: landlockAbi(),
    readPasswords: attempt(() => readFileSync('/etc/passwd')),
    readOwn: attempt(() => readFileSync(join(directory, 'file'))),
    readStatus: attempt(status),
    write: attempt(() => writeFileSync(join(directory, 'new'), '')),
    remove: attempt(() => unlinkSync(join(directory, 'file'))),
    signalInit: attempt(() => process.kill(1, 0)),
    connect: await connecting,
  }),
);
process.exit(0);
