import test from 'ava';
import fc from 'fast-check';
import * as uart from '../../devices/serial-registers.ts';
import { Linux8250 } from './linux-8250.ts';
import { SerialBench } from './serial-bench.ts';

const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Lets the CPU take interrupts until none is latched. */
function takeInterrupts(bench: SerialBench, driver: Linux8250): void {
  while (bench.interrupt.latched) {
    bench.interrupt.latched = false;
    driver.interrupt();
  }
}

/** The event loop goes idle, the CPU takes what comes of it, until nothing does. */
function quiet(bench: SerialBench, driver: Linux8250): void {
  do {
    bench.serial.settle();
    takeInterrupts(bench, driver);
    bench.serial.settle();
  } while (bench.interrupt.latched);
}

function started(): { bench: SerialBench; driver: Linux8250 } {
  const bench = new SerialBench();
  const driver = new Linux8250(bench);
  driver.autoconfig();
  driver.startup();
  quiet(bench, driver);
  return { bench, driver };
}

test("Linux's autoconfig finds a 16550A with a FIFO of 16 and nothing to work around", (t) => {
  const bench = new SerialBench();
  const driver = new Linux8250(bench);
  driver.autoconfig();
  t.is(driver.type, '16550A');
  t.is(driver.sizeFifo(), 16);
  driver.startup();
  t.deepEqual([...driver.bugs], []);
  t.is(bench.sink.bytes.length, 0);
});

test('looking for the interrupt (autoconfig_irq) raises it at once', (t) => {
  const bench = new SerialBench();
  bench.out(uart.UART_MCR, uart.UART_MCR_DTR | uart.UART_MCR_RTS | uart.UART_MCR_OUT2);
  bench.out(uart.UART_IER, 0x0f);
  t.is(bench.interrupt.count, 1);
});

test('what user space writes is sent whole and in order, by one interrupt', (t) => {
  const { bench, driver } = started();
  const before = bench.interrupt.count;
  const text = 'x'.repeat(1000).replaceAll('xxxxx', 'abcde');
  driver.write(bytesOf(text));
  quiet(bench, driver);
  t.is(bench.sink.text, text);
  t.is(bench.interrupt.count - before, 1);
  t.is(driver.transmit.length, 0);
});

test('what was typed before the driver starts reaches it whole', (t) => {
  const bench = new SerialBench();
  const driver = new Linux8250(bench);
  const text = 'a pipe is full before the guest boots: more than one FIFO of it';
  bench.source.type(bytesOf(text));
  driver.autoconfig();
  driver.startup();
  bench.source.type(bytesOf('!'));
  quiet(bench, driver);
  t.is(Buffer.from(driver.received).toString(), `${text}!`);
});

test('what is typed while the port is closed and opened again is not lost', (t) => {
  const { bench, driver } = started();
  bench.source.type(bytesOf('one '));
  driver.shutdown();
  bench.source.type(bytesOf('two '));
  driver.startup();
  bench.source.type(bytesOf('three'));
  quiet(bench, driver);
  t.is(Buffer.from(driver.received).toString(), 'one two three');
});

test('a paste of 1 MiB arrives whole', (t) => {
  const { bench, driver } = started();
  const paste = Buffer.alloc(1 << 20, 'The quick brown fox. ');
  for (let at = 0; at < paste.length; at += 4096) {
    bench.source.type(paste.subarray(at, at + 4096));
    quiet(bench, driver);
  }
  t.is(Buffer.compare(Buffer.from(driver.received), paste), 0);
});

test('a congested sink stops the writer, and the end of congestion wakes it', (t) => {
  const { bench, driver } = started();
  bench.sink.limit = 100;
  const text = 'y'.repeat(500);
  driver.write(bytesOf(text));
  quiet(bench, driver);
  t.true(bench.sink.bytes.length < 100 + 16);
  t.is(bench.in(uart.UART_LSR) & (uart.UART_LSR_THRE | uart.UART_LSR_TEMT), 0);
  for (let i = 0; i < 10; i++) {
    bench.sink.drain();
    quiet(bench, driver);
  }
  t.is(bench.sink.text, text);
  t.true(bench.sink.peak < 100 + 16);
  t.is(driver.transmit.length, 0);
});

test("the kernel's console waits for a congested sink", (t) => {
  const { bench, driver } = started();
  t.false(driver.printk(bytesOf('hello\r\n')));
  bench.sink.limit = 4;
  t.true(driver.printk(bytesOf('stuck')));
  t.is(bench.sink.text, 'hello\r\nstuck');
});

test('a break reaches the driver once, before what is typed after it', (t) => {
  const { bench, driver } = started();
  bench.serial.sendBreak();
  bench.source.type(bytesOf('h'));
  quiet(bench, driver);
  t.is(driver.breaks, 1);
  t.is(Buffer.from(driver.received).toString(), 'h');
});

test('typing while the guest prints: each interrupt that is needed comes, whatever the order of things', (t) => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('type' as const), text: fc.string({ maxLength: 40 }) }),
    fc.record({ kind: fc.constant('write' as const), text: fc.string({ maxLength: 60 }) }),
    fc.record({ kind: fc.constant('printk' as const), text: fc.string({ maxLength: 10 }) }),
    fc.record({ kind: fc.constant('limit' as const), limit: fc.integer({ min: 1, max: 80 }) }),
    fc.record({ kind: fc.constantFrom('drain' as const, 'settle' as const, 'cpu' as const, 'break' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { bench, driver } = started();
      let typed = '';
      let written = '';
      let breaks = 0;
      for (const action of steps) {
        if (action.kind === 'type') {
          typed += action.text;
          bench.source.type(bytesOf(action.text));
        } else if (action.kind === 'write') {
          // Lower case comes from user space, and goes around what the kernel prints.
          const text = action.text.toLowerCase().replaceAll('#', '');
          written += text;
          driver.write(bytesOf(text));
        } else if (action.kind === 'printk') {
          driver.printk(bytesOf('#'));
        } else if (action.kind === 'limit') {
          bench.sink.limit = action.limit;
        } else if (action.kind === 'drain') {
          bench.sink.drain();
        } else if (action.kind === 'settle') {
          bench.serial.settle();
        } else if (action.kind === 'break') {
          // A break that comes before the last one was seen is the same break.
          quiet(bench, driver);
          bench.serial.sendBreak();
          breaks++;
        } else {
          takeInterrupts(bench, driver);
        }
      }
      for (let i = 0; i < 500 && driver.transmit.length > 0; i++) {
        bench.sink.drain();
        quiet(bench, driver);
      }
      quiet(bench, driver);
      t.is(Buffer.from(driver.received).toString('latin1'), bytesOf(typed).toString('latin1'));
      t.is(bench.sink.text.replaceAll('#', ''), bytesOf(written).toString('latin1'));
      t.is(driver.breaks, breaks);
    }),
    { numRuns: 300 },
  );
});

test('an interrupt that finds nothing to do is rare', (t) => {
  const { bench, driver } = started();
  driver.spurious = 0;
  for (let i = 0; i < 100; i++) {
    driver.write(bytesOf('a line of output that is longer than the FIFO\r\n'));
    quiet(bench, driver);
    bench.source.type(bytesOf('ls\r'));
    quiet(bench, driver);
  }
  t.is(driver.spurious, 0);
});
