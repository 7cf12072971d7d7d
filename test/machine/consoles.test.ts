import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { ConsoleDevice } from '../../devices/virtio/console/console.ts';
import { createVirtioConsole } from '../../lib/console/create.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { Consoles } from '../../lib/machine/consoles.ts';
import { temporaryDirectory } from '../console/programs.ts';

const EVENTS = { leave: () => {}, sendBreak: () => {}, sendCtrlAltDel: () => {}, failed: () => {} };

test('each of two files gets its console’s output, up to its limit; nothing can be typed', async (t) => {
  const directory = temporaryDirectory(t);
  const loop = new EventLoop();
  const file = (name: string) => join(directory, name);
  const limit = { size: 4, oneTimeBurst: 0, refillTime: 1_000_000 };
  const consoles = new Consoles(
    {
      serial: { kind: 'file', path: file('serial'), rateLimiter: limit },
      console: { kind: 'file', path: file('virtio'), rateLimiter: undefined },
    },
    loop,
    EVENTS,
  );
  for (const byte of Buffer.from('serial')) consoles.serial!.output.put(byte);
  t.is(consoles.serial!.input.available, 0);
  const text = Buffer.from('virtio');
  t.is(consoles.virtio!.output.write(text, 0, text.length), text.length);
  t.is(consoles.virtio!.input, undefined);
  t.is(consoles.virtio!.size, undefined, 'a file has none');
  consoles.start();
  t.false(consoles.raw);
  await consoles.drain();
  t.is(readFileSync(file('serial'), 'utf8'), 'seri');
  t.is(readFileSync(file('virtio'), 'utf8'), 'virtio');
  t.deepEqual(consoles.counters, { rate_limiter_dropped_bytes: 2, lost_bytes: 0 });
  consoles.close();
  loop.close();
});

test('where there is to be no console, there is none', (t) => {
  const loop = new EventLoop();
  const consoles = new Consoles({ serial: { kind: 'none' }, console: { kind: 'none' } }, loop, EVENTS);
  t.is(consoles.serial, undefined);
  t.is(consoles.virtio, undefined);
  consoles.close();
  loop.close();
});

test('the device follows the size of its terminal', (t) => {
  let resize: (size: { columns: number; rows: number }) => void = () => {};
  const sink = {
    put: () => true,
    write: (_: Uint8Array, start: number, end: number) => end - start,
    onDrain: () => {},
  };
  const device = createVirtioConsole({
    output: sink,
    size: { columns: 80, rows: 24 },
    onResize: (listener) => {
      resize = listener;
    },
  });
  t.true(device instanceof ConsoleDevice);
  t.is(device.readConfig(0, 2), 80);
  resize({ columns: 132, rows: 40 });
  t.is(device.readConfig(0, 2), 132);
  t.is(device.readConfig(2, 2), 40);
});
