import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ConsoleInput } from '../../lib/console/console-input.ts';
import { ConsoleOutput } from '../../lib/console/console-output.ts';
import { closeDescriptor, type Descriptor, openOutput } from '../../lib/console/descriptor.ts';
import { EscapeFilter } from '../../lib/console/escape.ts';
import { HostConsole } from '../../lib/console/host-console.ts';
import { ExitCode, type MvmError } from '../../lib/errors.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { temporaryDirectory } from './programs.ts';

const { O_NONBLOCK, O_RDONLY, O_RDWR } = constants;
const KIB = 1024;

/** A loop that runs until the test is over. */
function runningLoop(t: ExecutionContext): EventLoop {
  const loop = new EventLoop();
  const running = loop.run();
  t.teardown(async () => {
    loop.stop();
    await running;
    loop.close();
  });
  return loop;
}

/** A named pipe, and its other end. */
function fifo(t: ExecutionContext): { path: string; fd: number } {
  const path = join(temporaryDirectory(t), 'fifo');
  execFileSync('mkfifo', [path]);
  const fd = openSync(path, O_RDWR | O_NONBLOCK);
  t.teardown(() => closeSync(fd));
  return { path, fd };
}

async function until(t: ExecutionContext, what: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !what(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
  t.true(what());
}

/** Reads what there is. */
function readAll(fd: number): Buffer {
  const parts: Buffer[] = [];
  for (;;) {
    const part = Buffer.alloc(64 * KIB);
    try {
      const count = readSync(fd, part);
      if (count === 0) break;
      parts.push(part.subarray(0, count));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') break;
      throw error;
    }
  }
  return Buffer.concat(parts);
}

/** Byte `i` of a stream in which a lost or doubled block shows. */
const pattern = (i: number): number => (i ^ (i >> 8) ^ (i >> 16)) & 0xff;

test('output that nobody takes: congestion, then bounded memory; when it is taken, nothing is missing that was kept', async (t) => {
  const loop = runningLoop(t);
  const { path, fd } = fifo(t);
  const descriptor = openOutput(path);
  const output = new ConsoleOutput(loop, descriptor, (error) => t.fail(error.message));
  let drained = 0;
  output.onDrain(() => drained++);
  let sent = 0;
  while (output.put(pattern(sent++))) t.true(sent < 1000 * KIB);
  // The pipe holds 64 KiB, the queue as much before it counts as congested.
  t.true(sent >= 128 * KIB && sent < 200 * KIB);
  t.is(output.write(Buffer.alloc(10), 0, 10), 0, 'a congested sink takes no more blocks');
  // A guest that goes on all the same finds room for a while.
  const kept = sent + 512 * KIB;
  while (sent < kept) t.false(output.put(pattern(sent++)));
  t.is(output.metrics.droppedBytes, 0);
  t.is(drained, 0);
  let received = readAll(fd);
  await until(t, () => {
    received = Buffer.concat([received, readAll(fd)]);
    return received.length === sent;
  });
  t.true(received.every((byte, i) => byte === pattern(i)));
  t.is(drained, 1);
  t.true(output.put(0));
  // For ever is too long.
  for (let i = 0; i < 2048 * KIB; i++) output.put(0);
  t.true(output.metrics.droppedBytes > 500 * KIB);
  output.close();
  closeDescriptor(descriptor);
});

test('blocks of output are taken up to congestion', async (t) => {
  const loop = runningLoop(t);
  const { path, fd } = fifo(t);
  const descriptor = openOutput(path);
  const output = new ConsoleOutput(loop, descriptor, (error) => t.fail(error.message));
  const bytes = Buffer.from(Array.from({ length: 1000 * KIB }, (_, i) => pattern(i)));
  let sent = 0;
  const send = (): void => {
    sent += output.write(bytes, sent, bytes.length);
  };
  output.onDrain(send);
  send();
  t.true(sent > 0 && sent < 300 * KIB);
  let received: Buffer = Buffer.alloc(0);
  await until(t, () => {
    received = Buffer.concat([received, readAll(fd)]);
    return received.length === bytes.length;
  });
  t.is(Buffer.compare(received, bytes), 0);
  await output.drain();
  output.close();
  closeDescriptor(descriptor);
});

test('what has gathered leaves when the loop goes idle', async (t) => {
  const loop = runningLoop(t);
  const { path, fd } = fifo(t);
  const host = HostConsole.file(loop, path, { failed: (error) => t.fail(error.message) });
  for (const byte of Buffer.from('login: ')) host.output.put(byte);
  let received = '';
  await until(t, () => {
    received += readAll(fd).toString();
    return received === 'login: ';
  });
  t.is(host.output.metrics.writes, 1);
  t.is(host.size, undefined);
  t.false(host.raw);
  host.close();
});

test('a file is made for its owner alone, and appended to', async (t) => {
  const loop = runningLoop(t);
  const path = join(temporaryDirectory(t), 'console');
  for (const text of ['first ', 'second']) {
    const host = HostConsole.file(loop, path, { failed: (error) => t.fail(error.message) });
    host.output.write(Buffer.from(text), 0, text.length);
    await host.drain();
    host.close();
  }
  t.is(readFileSync(path, 'utf8'), 'first second');
  t.is(statSync(path).mode & 0o777, 0o600);
});

test('an output that fails is told once, and what comes after is thrown away without congestion', async (t) => {
  const loop = runningLoop(t);
  const errors: MvmError[] = [];
  const host = HostConsole.file(loop, '/dev/full', { failed: (error) => errors.push(error) });
  let drained = 0;
  host.output.onDrain(() => drained++);
  for (let i = 0; i < 500 * KIB; i++) host.output.put(0x61);
  t.is(errors.length, 1);
  t.is(errors[0]!.exitCode, ExitCode.OutputFailed);
  t.is(errors[0]!.toLine(), '/dev/full: the disk is full');
  t.true(host.output.put(0x61));
  await host.drain();
  t.is(errors.length, 1);
  host.close();
});

test('input is read ahead up to the queue, and goes on when the guest has taken half of it', async (t) => {
  const loop = runningLoop(t);
  const { path, fd: writer } = fifo(t);
  const fd = openSync(path, O_RDONLY | O_NONBLOCK);
  const descriptor: Descriptor = { fd, kind: 'stream', nonBlocking: true, name: path, owned: true };
  const input = new ConsoleInput(loop, descriptor);
  let told = 0;
  input.onReadable(() => told++);
  input.start();
  const bytes = Buffer.from(Array.from({ length: 600 * KIB }, (_, i) => pattern(i)));
  let sent = 0;
  const push = (): void => {
    try {
      while (sent < bytes.length) sent += writeSync(writer, bytes, sent, Math.min(4096, bytes.length - sent));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  };
  await until(t, () => {
    push();
    return input.available === 64 * KIB;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  push();
  t.is(input.available, 64 * KIB);
  t.true(told > 0);
  t.true(sent < 200 * KIB, 'the writer is held back');
  const received: number[] = [];
  const block = new Uint8Array(1000);
  while (received.length < bytes.length) {
    if (input.available === 0) {
      push();
      await until(t, () => input.available > 0);
    }
    if (received.length % 2 === 0) received.push(input.take());
    else received.push(...block.subarray(0, input.takeInto(block, 0, block.length)));
    t.true(input.available <= 64 * KIB);
  }
  t.is(Buffer.compare(Buffer.from(received), bytes), 0);
  t.false(input.ended);
  input.close();
  closeDescriptor(descriptor);
});

test('a file as input is read as the guest takes it', (t) => {
  const loop = new EventLoop();
  const path = join(temporaryDirectory(t), 'input');
  const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, i) => pattern(i)));
  writeFileSync(path, bytes);
  const fd = openSync(path, O_RDONLY);
  const input = new ConsoleInput(loop, { fd, kind: 'file', nonBlocking: false, name: path, owned: true });
  let told = 0;
  input.onReadable(() => told++);
  input.start();
  t.is(told, 1);
  t.is(input.available, 64 * KIB);
  const received: number[] = [];
  while (input.available > 0) received.push(input.take());
  t.is(Buffer.compare(Buffer.from(received), bytes), 0);
  t.true(input.ended);
  input.close();
  closeSync(fd);
  loop.close();
});

test('a terminal that is another’s is not read, and what it has for them does not keep us awake', async (t) => {
  const loop = runningLoop(t);
  const { path, fd: writer } = fifo(t);
  const fd = openSync(path, O_RDONLY | O_NONBLOCK);
  let ours = false;
  let asked = 0;
  const filter = new EscapeFilter({
    leave: () => t.fail(),
    help: () => t.fail(),
    sendBreak: () => t.fail(),
    sendCtrlAltDel: () => t.fail(),
  });
  const mayRead = (): boolean => {
    asked++;
    return ours;
  };
  const descriptor: Descriptor = { fd, kind: 'terminal', nonBlocking: true, name: path, owned: true };
  const input = new ConsoleInput(loop, descriptor, { filter, mayRead });
  input.start();
  writeSync(writer, 'not ours');
  await until(t, () => asked > 0);
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.true(asked < 5, `asked ${asked} times`);
  t.is(input.available, 0);
  ours = true;
  input.recheck();
  await until(t, () => input.available === 8);
  writeSync(writer, '!');
  await until(t, () => input.available === 9);
  input.close();
  closeDescriptor(descriptor);
});
