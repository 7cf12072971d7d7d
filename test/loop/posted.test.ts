import test from 'ava';
import { SYS_write } from '../../lib/ffi/constants.ts';
import { call } from '../../lib/ffi/libc.ts';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';
import { CALLS_PER_BATCH } from '../../lib/loop/arena.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { LoopTimer } from '../../lib/loop/timer.ts';

const one = new NativeBuffer(16);
one.setNumber64(0, 1);

/** An eventfd, and what has been added to it since it was last asked. */
function counter() {
  const fd = call('eventfd', 'count', 0, 0o4000);
  const count = () => {
    one.setNumber64(8, 0);
    call('read', 'read a count', fd, one.address + 8, 8);
    return one.getNumber64(8);
  };
  return { fd, count };
}

test.serial('posted calls are made with the next batch, and by themselves where it is full', (t) => {
  const loop = new EventLoop();
  const { arena } = loop;
  const { fd, count } = counter();
  const before = arena.batch;
  for (let i = 0; i < CALLS_PER_BATCH + 3; i++) arena.post(SYS_write, fd, one.address, 8);
  t.is(arena.batch - before, 1);
  t.is(count(), CALLS_PER_BATCH);
  t.is(arena.room, CALLS_PER_BATCH - 3);
  t.is(arena.invoke(SYS_write, fd, one.address, 8), 8, 'a call at once brings them along');
  t.is(count(), 4);
  for (let i = 0; i < CALLS_PER_BATCH; i++) arena.post(SYS_write, fd, one.address, 8);
  t.is(arena.invoke(SYS_write, fd, one.address, 8), 8, 'also when there is no room');
  t.is(count(), CALLS_PER_BATCH + 1);
  arena.submit();
  const idle = arena.batch;
  arena.submit();
  t.is(arena.batch, idle);
  loop.close();
});

test.serial('the loop makes posted calls before it sleeps, and has pollers listen only while it does', async (t) => {
  const loop = new EventLoop();
  const { fd, count } = counter();
  const log: string[] = [];
  let left = 3;
  loop.addPoller({
    poll: () => {
      if (left === 0) return false;
      left--;
      loop.arena.post(SYS_write, fd, one.address, 8);
      return true;
    },
    listen: () => {
      log.push('listen');
      // Something came between the last look and listening: it must not sleep.
      if (log.length === 1) {
        left = 1;
        return true;
      }
      return false;
    },
    ignore: () => log.push('ignore'),
  });
  const running = loop.run();
  await new Promise((resolve) => setTimeout(resolve, 30));
  t.is(count(), 4);
  loop.stop();
  await running;
  t.deepEqual(log.slice(0, 4), ['listen', 'ignore', 'listen', 'ignore']);
  loop.close();
});

test.serial('a timer is due once, and forgets what it was set to before', async (t) => {
  const loop = new EventLoop();
  let times = 0;
  const timer = new LoopTimer(loop, () => times++);
  timer.arm(10_000);
  timer.arm(0.5);
  const running = loop.run();
  const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  while (times === 0) await wait(1);
  await wait(20);
  t.is(times, 1);
  timer.arm(1);
  while (times === 1) await wait(1);
  t.is(times, 2);
  timer.close();
  loop.stop();
  await running;
  loop.close();
});
