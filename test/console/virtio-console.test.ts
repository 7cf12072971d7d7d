import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { ConsoleDevice } from '../../devices/virtio/console/console.ts';
import { HostConsole } from '../../lib/console/host-console.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';
import { Driver } from '../helpers/virtio/driver.ts';
import { temporaryDirectory } from './programs.ts';

const CHUNK = 60_000;
const CHUNKS = 100;

/** What a guest prints that prints a lot; a lost or doubled block shows. */
function chunk(number: number): Uint8Array {
  return Uint8Array.from({ length: CHUNK }, (_, i) => (number * 31 + i * 7 + (i >> 8)) & 0xff);
}

for (const slow of [false, true]) {
  test.serial(`6 MB are printed to a ${slow ? 'pipe that is read slowly' : 'file'}, none lost`, async (t) => {
    const loop = new EventLoop();
    const directory = temporaryDirectory(t);
    const path = join(directory, 'out');
    const target = join(directory, 'pipe');
    if (slow) {
      execFileSync('mkfifo', [target]);
      // Reads a little, and then all the rest.
      const reader = spawn('sh', ['-c', `(head -c 1000; sleep 0.2; cat) <${target} >${path}`]);
      t.teardown(() => reader.kill());
    }
    const console = HostConsole.file(loop, slow ? target : path, { failed: (error) => t.fail(error.message) });
    const device = new ConsoleDevice({ output: console.output });
    const driver = new Driver('mmio', device, GuestMemory.plain(4 << 20));
    driver.start({ queueSize: 16 });
    const places = Array.from({ length: 8 }, () => driver.allocate(CHUNK));
    let printed = 0;
    let back = 0;
    const poller = {
      poll(): boolean {
        const found = driver.core.poll();
        const used = driver.ring(1).collect().length;
        back += used;
        while (printed < CHUNKS && printed - back < places.length) {
          const address = places[printed % places.length] as number;
          driver.memory.write(address, chunk(printed++));
          driver.ring(1).add([{ address, length: CHUNK, writable: false }]);
        }
        if (back === CHUNKS) loop.stop();
        return found || used > 0;
      },
    };
    loop.addPoller(poller);
    await loop.run();
    loop.removePoller(poller);
    const running = loop.run();
    await console.drain();
    loop.stop();
    await running;
    console.close();
    loop.close();
    const expected = Buffer.concat(Array.from({ length: CHUNKS }, (_, i) => chunk(i)));
    for (let i = 0; i < 1000 && readFileSync(path).length < expected.length; i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    t.true(readFileSync(path).equals(expected));
    t.is(device.metrics.tx_bytes_count, expected.length);
    t.is(device.metrics.tx_congested_count > 0, slow);
  });
}
