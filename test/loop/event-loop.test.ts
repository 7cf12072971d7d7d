import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { EPOLLET, EPOLLIN, EPOLLOUT, SYS_write } from '../../lib/ffi/constants.ts';
import { call, tryCall } from '../../lib/ffi/libc.ts';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';

const one = new NativeBuffer(8);
one.setNumber64(0, 1);

function eventfd(): number {
  return call('eventfd', 'make an eventfd', 0, 0);
}

function signal(fd: number): void {
  call('write', 'signal an eventfd', fd, one.address, 8);
}

/** A loop that ends with the test. */
async function withLoop(body: (loop: EventLoop) => Promise<void>): Promise<void> {
  const loop = new EventLoop();
  const running = loop.run();
  try {
    await body(loop);
  } finally {
    loop.stop();
    await running;
    loop.close();
  }
}

/** Resolves, through the loop, when `arm` calls what it is given. */
function happens(loop: EventLoop, arm: (done: () => void) => void): Promise<void> {
  return new Promise((resolve) =>
    arm(() => {
      resolve();
      loop.yieldToNode();
    }),
  );
}

test.serial('a descriptor that becomes readable reaches its handler', async (t) => {
  await withLoop(async (loop) => {
    const fd = eventfd();
    let events = 0;
    await happens(loop, (done) => {
      const watch = loop.watch(fd, EPOLLIN | EPOLLET, (seen) => {
        events = seen;
        watch.close();
        done();
      });
      signal(fd);
    });
    t.is(events, EPOLLIN);
    tryCall('close', fd);
  });
});

test.serial('the events that are waited for can be changed', async (t) => {
  await withLoop(async (loop) => {
    const fd = eventfd();
    const seen: number[] = [];
    const watch = loop.watch(fd, EPOLLIN, (events) => seen.push(events));
    await sleep(20);
    t.deepEqual(seen, []);
    await happens(loop, (done) => {
      const other = loop.watch(call('dup', 'copy a descriptor', fd), EPOLLOUT, (events) => {
        t.is(events, EPOLLOUT);
        other.close();
        done();
      });
    });
    watch.close();
    signal(fd);
    await sleep(20);
    t.deepEqual(seen, [], 'a closed watch is silent');
    tryCall('close', fd);
  });
});

test.serial('a slot that is used again never sees events of its former owner', async (t) => {
  await withLoop(async (loop) => {
    const a = eventfd();
    const b = eventfd();
    const c = eventfd();
    const wrong: string[] = [];
    const watches = new Map<string, { close(): void }>();
    await happens(loop, (done) => {
      const first = (name: string, other: string) => () => {
        watches.get(other)?.close();
        watches.get(name)?.close();
        const replacement = loop.watch(c, EPOLLIN | EPOLLET, () => wrong.push(name));
        setTimeout(() => {
          replacement.close();
          done();
        }, 20);
      };
      watches.set('a', loop.watch(a, EPOLLIN | EPOLLET, first('a', 'b')));
      watches.set('b', loop.watch(b, EPOLLIN | EPOLLET, first('b', 'a')));
      signal(a);
      signal(b);
    });
    t.deepEqual(wrong, []);
    for (const fd of [a, b, c]) tryCall('close', fd);
  });
});

test.serial('timers, promises and input of Node go on while the loop runs', async (t) => {
  await withLoop(async () => {
    const before = performance.now();
    await sleep(30);
    t.true(performance.now() - before >= 29);
    t.true((await import('node:fs/promises').then((fs) => fs.readFile('/proc/version', 'utf8'))).startsWith('Linux'));
  });
});

test.serial('pollers are asked until they have nothing to do, and descriptors are not starved', async (t) => {
  await withLoop(async (loop) => {
    let polls = 0;
    const poller = {
      poll: () => {
        polls++;
        return true;
      },
    };
    loop.addPoller(poller);
    const fd = eventfd();
    await happens(loop, (done) => {
      const watch = loop.watch(fd, EPOLLIN | EPOLLET, () => {
        watch.close();
        done();
      });
      signal(fd);
    });
    await sleep(5);
    t.true(polls > 1);
    loop.removePoller(poller);
    const after = polls;
    await sleep(10);
    t.is(polls, after);
    tryCall('close', fd);
  });
});

test.serial('an idle loop sleeps, and does not wake up', async (t) => {
  await withLoop(async () => {
    await sleep(50);
    const switches = contextSwitches();
    const cpu = process.cpuUsage();
    await sleep(500);
    const { user, system } = process.cpuUsage(cpu);
    t.true(contextSwitches() - switches < 10, `${contextSwitches() - switches} context switches in half a second`);
    t.true(user + system < 100_000, `${user + system} µs of CPU in half a second`);
  });
});

test.serial('who clears the sleeping word and writes the eventfd wakes it', async (t) => {
  await withLoop(async (loop) => {
    const flag = { wanted: false };
    await happens(loop, (done) => {
      loop.addPoller({
        poll: () => {
          if (!flag.wanted) return false;
          flag.wanted = false;
          done();
          return true;
        },
      });
      setTimeout(() => {
        flag.wanted = true;
        loop.arena.invoke(SYS_write, loop.wakeFd, one.address, 8);
      }, 20);
    });
    t.pass();
  });
});

test.serial('what a handler throws ends the loop', async (t) => {
  const loop = new EventLoop();
  const fd = eventfd();
  loop.watch(fd, EPOLLIN, () => {
    throw new Error('from a handler');
  });
  const running = loop.run();
  signal(fd);
  await t.throwsAsync(running, { message: 'from a handler' });
  loop.close();
  tryCall('close', fd);
});

test.serial('a regular file cannot be watched', async (t) => {
  const loop = new EventLoop();
  const fd = call('open', 'open a file', import.meta.filename, 0, 0);
  t.throws(() => loop.watch(fd, EPOLLIN, () => {}), { code: 'EPERM' });
  tryCall('close', fd);
  loop.close();
});

function contextSwitches(): number {
  const status = readFileSync('/proc/thread-self/status', 'utf8');
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
}
