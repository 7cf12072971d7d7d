import test from 'ava';
import { ConsoleDevice, type ConsoleOptions } from '../../../devices/virtio/console/console.ts';
import * as con from '../../../devices/virtio/console/constants.ts';
import { VIRTIO_CONFIG_S_NEEDS_RESET } from '../../../devices/virtio/constants.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { compareWithC, constantsOf } from '../../helpers/c-layout.ts';
import { MemoryInput, MemoryOutput } from '../../helpers/memory-console.ts';
import { Driver, TRANSPORTS, type TransportName } from '../../helpers/virtio/driver.ts';

const { RECEIVE_QUEUE, TRANSMIT_QUEUE } = con;
const FEATURES = [28, 29, con.VIRTIO_CONSOLE_F_SIZE, con.VIRTIO_CONSOLE_F_EMERG_WRITE];

/** A guest's console driver. */
class ConsoleDriver extends Driver {
  readonly #posted = new Map<number, { address: number; length: number }[]>();

  print(text: string | Uint8Array, ...cuts: number[]): number {
    const bytes = typeof text === 'string' ? Buffer.from(text) : text;
    const address = this.allocate(bytes.length);
    this.memory.write(address, bytes);
    const buffers: { address: number; length: number; writable: boolean }[] = [];
    let done = 0;
    for (const cut of [...cuts, bytes.length]) {
      const length = Math.min(cut, bytes.length - done);
      if (length > 0) buffers.push({ address: address + done, length, writable: false });
      done += length;
    }
    return this.ring(TRANSMIT_QUEUE).add(buffers);
  }

  post(...lengths: number[]): void {
    const buffers = lengths.map((length) => ({ address: this.allocate(length), length, writable: true }));
    this.#posted.set(this.ring(RECEIVE_QUEUE).add(buffers), buffers);
  }

  typed(): string {
    let text = '';
    for (const { head, length } of this.ring(RECEIVE_QUEUE).collect()) {
      const parts = (this.#posted.get(head) ?? []).map((buffer) => this.memory.read(buffer.address, buffer.length));
      text += Buffer.concat(parts).subarray(0, length).toString('latin1');
    }
    return text;
  }
}

interface Fixture {
  readonly output: MemoryOutput;
  readonly input: MemoryInput;
  readonly device: ConsoleDevice;
  readonly driver: ConsoleDriver;
}

function fixture(transport: TransportName, options: Partial<ConsoleOptions> = {}): Fixture {
  const output = new MemoryOutput();
  const input = new MemoryInput();
  const device = new ConsoleDevice({ output, input, ...options });
  const driver = new ConsoleDriver(transport, device, GuestMemory.plain(4 << 20));
  return { output, input, device, driver };
}

test('numbers and structures are those of Linux', (t) => {
  const constants: Record<string, number> = constantsOf(con);
  for (const name of ['RECEIVE_QUEUE', 'TRANSMIT_QUEUE', 'CONSOLE_QUEUE_SIZE']) delete constants[name];
  for (const [name, offset] of Object.entries(con.ConsoleConfig)) {
    if (name !== 'SIZE') constants[`offsetof(struct virtio_console_config, ${name})`] = offset;
  }
  constants['sizeof(struct virtio_console_config)'] = con.ConsoleConfig.SIZE;
  compareWithC(t, { headers: ['stddef.h', 'linux/virtio_console.h'], constants });
});

for (const transport of TRANSPORTS) {
  test(`${transport}: what the guest prints comes out, however it is cut`, (t) => {
    const { driver, output, device } = fixture(transport);
    driver.start({ features: FEATURES });
    const heads = [driver.print('hello '), driver.print('from the guest\n', 1, 2, 3)];
    driver.registers.notify(TRANSMIT_QUEUE);
    t.is(output.text, 'hello from the guest\n');
    t.deepEqual(driver.ring(TRANSMIT_QUEUE).collect(), [
      { head: heads[0]!, length: 0 },
      { head: heads[1]!, length: 0 },
    ]);
    t.true(driver.registers.takeInterrupts().queue);
    t.is(device.metrics.tx_bytes_count, 21);
  });

  test(`${transport}: what is typed goes in, as far as there are buffers`, (t) => {
    const { driver, input, device } = fixture(transport);
    driver.start({ features: FEATURES });
    driver.post(4, 3);
    input.type('abcdefghij');
    t.is(driver.typed(), 'abcdefg');
    t.true(driver.registers.takeInterrupts().queue);
    t.is(input.available, 3);
    driver.post(100);
    driver.core.poll();
    t.is(driver.typed(), 'hij');
    // Nothing is typed: the device does not want to know of buffers.
    driver.post(100);
    t.false(driver.core.poll());
    input.type('k');
    t.is(driver.typed(), 'k');
    t.is(device.metrics.rx_bytes_count, 11);
  });

  test(`${transport}: what was typed before the driver was ready is not lost`, (t) => {
    const { driver, input } = fixture(transport);
    input.type('early');
    driver.start({ features: FEATURES });
    driver.post(100);
    driver.core.poll();
    t.is(driver.typed(), 'early');
  });

  test(`${transport}: a changed size is told`, (t) => {
    const { driver, device } = fixture(transport, { size: { columns: 80, rows: 24 } });
    driver.start({ features: FEATURES });
    const { registers } = driver;
    t.deepEqual([registers.readConfig(0, 2), registers.readConfig(2, 2)], [80, 24]);
    const before = registers.generation;
    device.resize({ columns: 132, rows: 43 });
    t.true(registers.takeInterrupts().config);
    t.not(registers.generation, before);
    t.deepEqual([registers.readConfig(0, 2), registers.readConfig(2, 2)], [132, 43]);
  });

  test(`${transport}: an emergency is printed before the driver is ready`, (t) => {
    const { driver, output } = fixture(transport);
    t.not(driver.features & (1n << BigInt(con.VIRTIO_CONSOLE_F_EMERG_WRITE)), 0n);
    for (const byte of Buffer.from('panic')) driver.registers.writeConfig(con.ConsoleConfig.emerg_wr, 4, byte);
    driver.registers.writeConfig(con.ConsoleConfig.cols, 4, 0x58);
    t.is(output.text, 'panic');
  });

  test(`${transport}: a reset in the middle of what is printed forgets the rest`, (t) => {
    const { driver, output } = fixture(transport);
    driver.start({ features: FEATURES });
    output.room = 3;
    driver.print('one two');
    driver.core.poll();
    driver.start({ features: FEATURES });
    output.open(100);
    driver.print('again');
    driver.core.poll();
    t.is(output.text, 'oneagain');
    driver.registers.takeInterrupts();
    t.is(driver.ring(TRANSMIT_QUEUE).collect().length, 1);
  });
}

test('without a terminal, no size is offered nor told', (t) => {
  const { driver, device } = fixture('mmio');
  t.is(driver.features & 1n, 0n);
  driver.start({ features: FEATURES });
  device.resize({ columns: 1, rows: 1 });
  t.false(driver.registers.takeInterrupts().config);
});

test('a congested host is waited for, and nothing is lost or doubled', (t) => {
  const { driver, output, device } = fixture('mmio');
  driver.start({ features: FEATURES });
  output.room = 5;
  const heads = [driver.print('abc', 1), driver.print('defghijkl', 2, 3), driver.print('mno')];
  driver.core.poll();
  t.is(output.text, 'abcde');
  t.deepEqual(
    driver
      .ring(TRANSMIT_QUEUE)
      .collect()
      .map(({ head }) => head),
    heads.slice(0, 1),
  );
  t.false(driver.core.poll());
  for (const room of [1, 3, 100]) output.open(room);
  t.is(output.text, 'abcdefghijklmno');
  t.deepEqual(
    driver
      .ring(TRANSMIT_QUEUE)
      .collect()
      .map(({ head }) => head),
    heads.slice(1),
  );
  t.is(device.metrics.tx_bytes_count, 15);
});

test('a queue that is reset in the middle starts anew', (t) => {
  const { driver, output } = fixture('mmio');
  driver.start({ features: [...FEATURES, 40] });
  output.room = 2;
  driver.print('abcdef');
  driver.core.poll();
  driver.registers.resetQueue(TRANSMIT_QUEUE);
  driver.setUpQueue(TRANSMIT_QUEUE);
  output.open(100);
  driver.print('xyz');
  driver.core.poll();
  t.is(output.text, 'abxyz');
});

test('a long chain is printed in turns, and comes to its end', (t) => {
  const { driver, output } = fixture('mmio');
  driver.start({ features: FEATURES });
  const bytes = Uint8Array.from({ length: 1_000_000 }, (_, i) => 32 + ((i * 7) % 90));
  driver.print(bytes, 400_000, 1);
  let turns = 0;
  while (driver.core.poll()) turns++;
  t.true(turns > 1);
  t.is(output.text, Buffer.from(bytes).toString('latin1'));
  t.is(driver.ring(TRANSMIT_QUEUE).collect().length, 1);
});

for (const [what, queue, writable] of [
  ['a buffer to write into, to be printed', TRANSMIT_QUEUE, true],
  ['a buffer to read, to be typed into', RECEIVE_QUEUE, false],
] as const) {
  test(`a driver at fault: ${what}`, (t) => {
    const { driver, input, output } = fixture('mmio');
    driver.start({ features: FEATURES });
    driver.ring(queue).add([{ address: driver.allocate(10), length: 10, writable }]);
    input.type('x');
    driver.core.poll();
    t.not(driver.registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    t.is(driver.warnings.length, 1);
    driver.start({ features: FEATURES });
    driver.print('still here');
    driver.post(10);
    driver.core.poll();
    t.is(output.text, 'still here');
    t.is(driver.typed(), 'x');
  });
}
