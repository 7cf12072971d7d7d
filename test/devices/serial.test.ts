import test from 'ava';
import fc from 'fast-check';
import * as uart from '../../devices/serial-registers.ts';
import { SerialBench } from './serial-bench.ts';

const { UART_FCR, UART_IER, UART_IIR, UART_LCR, UART_LSR, UART_MCR, UART_MSR, UART_RX, UART_SCR, UART_TX } = uart;
const FIFO_ON = uart.UART_IIR_FIFO_ENABLED;
const ALL_INTERRUPTS = uart.UART_IER_RDI | uart.UART_IER_THRI | uart.UART_IER_RLSI | uart.UART_IER_MSI;

test('after reset: idle transmitter, no interrupt, a modem that is ready', (t) => {
  const bench = new SerialBench();
  t.is(bench.in(UART_LSR), uart.UART_LSR_THRE | uart.UART_LSR_TEMT);
  t.is(bench.in(UART_IIR), uart.UART_IIR_NO_INT);
  t.is(bench.in(UART_MSR), uart.UART_MSR_CTS | uart.UART_MSR_DSR | uart.UART_MSR_DCD);
  t.is(bench.in(UART_IER), 0);
  t.is(bench.in(UART_RX), 0);
  t.is(bench.interrupt.count, 0);
});

test('registers keep the bits that they have', (t) => {
  const bench = new SerialBench();
  for (const [register, mask] of [
    [UART_IER, 0x0f],
    [UART_LCR, 0xff],
    [UART_MCR, 0x1f],
    [UART_SCR, 0xff],
  ] as const) {
    bench.out(UART_LCR, 0);
    bench.out(register, 0xff);
    t.is(bench.in(register), mask, `register ${register}`);
  }
});

test('DLAB turns registers 0 and 1 into the divisor', (t) => {
  const bench = new SerialBench();
  bench.out(UART_LCR, uart.UART_LCR_DLAB);
  bench.out(uart.UART_DLL, 0x34);
  bench.out(uart.UART_DLM, 0x12);
  t.is(bench.in(uart.UART_DLL), 0x34);
  t.is(bench.in(uart.UART_DLM), 0x12);
  bench.out(UART_LCR, 0x03);
  t.is(bench.in(UART_IER), 0);
  t.deepEqual(bench.sink.bytes, []);
  bench.out(UART_TX, 0x41);
  t.is(bench.sink.text, 'A');
});

test('a string instruction sends each of its bytes', (t) => {
  const bench = new SerialBench();
  for (const byte of Buffer.from('hello')) bench.out(UART_TX, byte);
  t.is(bench.sink.text, 'hello');
  t.is(bench.serial.metrics.writeCount, 5);
});

test('data available below the trigger level is a time-out, from it on it is data', (t) => {
  const bench = new SerialBench();
  bench.out(UART_IER, uart.UART_IER_RDI);
  for (const [fcr, level] of [
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ] as const) {
    bench.out(UART_FCR, fcr);
    bench.source.type(Array.from({ length: level - 1 }, () => 0x61));
    if (level > 1) t.is(bench.in(UART_IIR), FIFO_ON | uart.UART_IIR_RX_TIMEOUT);
    bench.source.type([0x62]);
    t.is(bench.in(UART_IIR), FIFO_ON | uart.UART_IIR_RDI);
    for (let i = 0; i < level; i++) {
      t.is(bench.in(UART_LSR) & uart.UART_LSR_DR, uart.UART_LSR_DR);
      bench.in(UART_RX);
    }
    t.is(bench.in(UART_LSR) & uart.UART_LSR_DR, 0);
    t.is(bench.in(UART_IIR), FIFO_ON | uart.UART_IIR_NO_INT);
  }
});

test('without FIFOs there is one byte at a time and no time-out', (t) => {
  const bench = new SerialBench();
  bench.out(UART_IER, uart.UART_IER_RDI);
  bench.source.type([1, 2]);
  t.is(bench.in(UART_IIR), uart.UART_IIR_RDI);
  t.is(bench.in(UART_RX), 1);
  t.is(bench.in(UART_RX), 2);
  t.is(bench.in(UART_IIR), uart.UART_IIR_NO_INT);
});

test('interrupts come in the order of their priority, each cleared in its way', (t) => {
  const bench = new SerialBench();
  bench.out(UART_FCR, 0x01);
  // A change of DCD that is left for later, on the way in and out of loopback mode.
  bench.out(UART_MCR, uart.UART_MCR_LOOP);
  bench.out(UART_MCR, uart.UART_MCR_RTS);
  bench.source.type([0x78]);
  bench.serial.sendBreak();
  bench.out(UART_IER, ALL_INTERRUPTS);
  t.is(bench.in(UART_IIR), FIFO_ON | uart.UART_IIR_RLSI);
  const line = bench.in(UART_LSR);
  t.is(line & (uart.UART_LSR_BI | uart.UART_LSR_DR | uart.UART_LSR_FIFOE), 0x91);
  t.is(bench.in(UART_LSR) & (uart.UART_LSR_BI | uart.UART_LSR_FIFOE), 0);
  t.is(bench.in(UART_IIR), FIFO_ON | uart.UART_IIR_RDI);
  t.is(bench.in(UART_RX), 0);
  t.is(bench.in(UART_RX), 0x78);
  t.is(bench.in(UART_IIR), FIFO_ON | uart.UART_IIR_THRI);
  t.is(bench.in(UART_IIR), FIFO_ON | uart.UART_IIR_MSI);
  t.is(bench.in(UART_IIR), FIFO_ON | uart.UART_IIR_MSI);
  t.not(bench.in(UART_MSR) & 0x0f, 0);
  t.is(bench.in(UART_MSR) & 0x0f, 0);
  t.is(bench.in(UART_IIR), FIFO_ON | uart.UART_IIR_NO_INT);
  t.is(bench.interrupt.count, 1);
});

test('enabling THRI asks again for an interrupt; writing the same again does not', (t) => {
  const bench = new SerialBench();
  bench.out(UART_IER, uart.UART_IER_THRI);
  t.is(bench.interrupt.count, 1);
  t.is(bench.in(UART_IIR), uart.UART_IIR_THRI);
  t.is(bench.in(UART_IIR), uart.UART_IIR_NO_INT);
  bench.out(UART_IER, uart.UART_IER_THRI);
  t.is(bench.in(UART_IIR), uart.UART_IIR_NO_INT);
  bench.out(UART_IER, 0);
  bench.out(UART_IER, uart.UART_IER_THRI);
  t.is(bench.interrupt.count, 2);
  t.is(bench.in(UART_IIR), uart.UART_IIR_THRI);
});

test('the interrupt after sending waits for the loop, and is not raised when the driver has looked', (t) => {
  const bench = new SerialBench();
  bench.out(UART_IER, uart.UART_IER_THRI);
  bench.in(UART_IIR);
  bench.out(UART_TX, 0x61);
  bench.out(UART_TX, 0x62);
  t.is(bench.interrupt.count, 1);
  bench.serial.settle();
  t.is(bench.interrupt.count, 2);
  bench.serial.settle();
  t.is(bench.interrupt.count, 2);
  bench.in(UART_IIR);
  bench.out(UART_TX, 0x63);
  t.is(bench.in(UART_IIR), uart.UART_IIR_THRI);
  bench.serial.settle();
  t.is(bench.interrupt.count, 2);
});

test('a driver that takes one byte an interrupt is interrupted for each', (t) => {
  const bench = new SerialBench();
  bench.out(UART_FCR, 0x01);
  bench.out(UART_IER, uart.UART_IER_RDI);
  bench.source.type(Buffer.from('abc'));
  let text = '';
  for (let i = 0; i < 10 && bench.interrupt.latched; i++) {
    bench.interrupt.latched = false;
    text += String.fromCharCode(bench.in(UART_RX));
    bench.serial.settle();
  }
  t.is(text, 'abc');
});

test('new input raises one interrupt, however much comes before the guest looks', (t) => {
  const bench = new SerialBench();
  bench.out(UART_IER, uart.UART_IER_RDI);
  bench.source.type([1]);
  bench.source.type([2]);
  t.is(bench.interrupt.count, 1);
  bench.in(UART_RX);
  bench.in(UART_RX);
  bench.source.type([3]);
  t.is(bench.interrupt.count, 2);
});

test('input waits for a guest that takes it: by RTS, by its interrupt, or by polling', (t) => {
  const bench = new SerialBench();
  bench.source.type(Buffer.from('abcd'));
  t.is(bench.in(UART_LSR) & uart.UART_LSR_DR, 0);
  t.is(bench.in(UART_RX), 0);
  bench.out(UART_MCR, uart.UART_MCR_RTS);
  t.is(bench.in(UART_RX), 0x61);
  bench.out(UART_MCR, 0);
  t.is(bench.in(UART_RX), 0);
  bench.out(UART_IER, uart.UART_IER_RDI);
  t.is(bench.in(UART_RX), 0x62);
  bench.out(UART_IER, 0);
  let polls = 0;
  while ((bench.in(UART_LSR) & uart.UART_LSR_DR) === 0 && polls < 100) polls++;
  t.true(polls < 100);
  t.is(bench.in(UART_RX), 0x63);
});

test('clearing the receive FIFO loses nothing that came from the host', (t) => {
  const bench = new SerialBench();
  bench.out(UART_MCR, uart.UART_MCR_RTS);
  bench.source.type(Buffer.from('xy'));
  bench.out(UART_FCR, uart.UART_FCR_ENABLE_FIFO | uart.UART_FCR_CLEAR_RCVR);
  t.is(bench.in(UART_RX), 0x78);
  bench.out(UART_FCR, 0);
  t.is(bench.in(UART_RX), 0x79);
});

test('loopback: what is sent is received, up to the FIFO, and nothing leaves', (t) => {
  const bench = new SerialBench();
  bench.out(UART_FCR, 0x01);
  bench.out(UART_MCR, uart.UART_MCR_LOOP);
  bench.source.type([0xee]);
  for (let i = 0; i < 20; i++) bench.out(UART_TX, i);
  t.is(bench.in(UART_LSR) & (uart.UART_LSR_OE | uart.UART_LSR_DR), uart.UART_LSR_OE | uart.UART_LSR_DR);
  t.is(bench.in(UART_LSR) & uart.UART_LSR_OE, 0);
  const received: number[] = [];
  while ((bench.in(UART_LSR) & uart.UART_LSR_DR) !== 0) received.push(bench.in(UART_RX));
  t.deepEqual(received, [...Array(16).keys()]);
  t.deepEqual(bench.sink.bytes, []);
  bench.out(UART_TX, 0x55);
  bench.out(UART_FCR, uart.UART_FCR_ENABLE_FIFO | uart.UART_FCR_CLEAR_RCVR);
  t.is(bench.in(UART_LSR) & uart.UART_LSR_DR, 0);
  bench.out(UART_MCR, uart.UART_MCR_RTS);
  t.is(bench.in(UART_RX), 0xee);
});

test('loopback: the four modem outputs are the inputs, and changes are noted', (t) => {
  const bench = new SerialBench();
  bench.out(UART_MCR, uart.UART_MCR_LOOP);
  bench.in(UART_MSR);
  for (const [output, input, delta] of [
    [uart.UART_MCR_RTS, uart.UART_MSR_CTS, uart.UART_MSR_DCTS],
    [uart.UART_MCR_DTR, uart.UART_MSR_DSR, uart.UART_MSR_DDSR],
    [uart.UART_MCR_OUT2, uart.UART_MSR_DCD, uart.UART_MSR_DDCD],
  ] as const) {
    bench.out(UART_MCR, uart.UART_MCR_LOOP | output);
    t.is(bench.in(UART_MSR), input | delta);
    t.is(bench.in(UART_MSR), input);
    bench.out(UART_MCR, uart.UART_MCR_LOOP);
    t.is(bench.in(UART_MSR), delta);
  }
  // Of the ring indicator only the end counts.
  bench.out(UART_MCR, uart.UART_MCR_LOOP | uart.UART_MCR_OUT1);
  t.is(bench.in(UART_MSR), uart.UART_MSR_RI);
  bench.out(UART_MCR, uart.UART_MCR_LOOP);
  t.is(bench.in(UART_MSR), uart.UART_MSR_TERI);
});

test('a congested sink clears THRE until it drains, then interrupts', (t) => {
  const bench = new SerialBench();
  bench.sink.limit = 2;
  bench.out(UART_IER, uart.UART_IER_THRI);
  bench.in(UART_IIR);
  bench.out(UART_TX, 1);
  bench.out(UART_TX, 2);
  bench.serial.settle();
  t.is(bench.in(UART_LSR) & uart.UART_LSR_THRE, 0);
  t.is(bench.in(UART_IIR), uart.UART_IIR_NO_INT);
  const before = bench.interrupt.count;
  bench.out(UART_IER, 0);
  bench.out(UART_IER, uart.UART_IER_THRI);
  t.is(bench.interrupt.count, before);
  bench.sink.drain();
  t.is(bench.interrupt.count, before + 1);
  t.is(bench.in(UART_LSR) & uart.UART_LSR_THRE, uart.UART_LSR_THRE);
  t.is(bench.in(UART_IIR), uart.UART_IIR_THRI);
});

test('reading LSR and MSR lets the output fall, so that the next event is told', (t) => {
  const bench = new SerialBench();
  bench.out(UART_IER, uart.UART_IER_RLSI);
  bench.serial.sendBreak();
  bench.in(UART_LSR);
  bench.serial.sendBreak();
  t.is(bench.interrupt.count, 2);
  bench.in(UART_LSR);
  bench.out(UART_IER, uart.UART_IER_MSI);
  bench.out(UART_MCR, uart.UART_MCR_LOOP);
  bench.in(UART_MSR);
  bench.out(UART_MCR, 0);
  t.is(bench.interrupt.count, 4);
});

const hostile = fc.oneof(
  fc.record({ kind: fc.constant('in' as const), register: fc.nat(7) }),
  fc.record({ kind: fc.constant('out' as const), register: fc.nat(7), value: fc.nat(0xff) }),
  fc.record({ kind: fc.constant('ier' as const), value: fc.nat(0x0f) }),
  fc.record({ kind: fc.constantFrom('type' as const, 'drain' as const, 'settle' as const, 'break' as const) }),
);

test('whatever is written where: no pending interrupt goes untold, and none comes that is not enabled', (t) => {
  fc.assert(
    fc.property(fc.array(hostile, { maxLength: 200 }), (steps) => {
      const bench = new SerialBench();
      bench.sink.limit = 8;
      // Interrupts up to the last time that the guest saw none pending: after that, a pending one has been told.
      let atQuiet = 0;
      const seen = (): boolean => {
        bench.out(UART_LCR, 0);
        const quiet = (bench.in(UART_IIR) & uart.UART_IIR_NO_INT) !== 0;
        if (quiet) atQuiet = bench.interrupt.count;
        return quiet;
      };
      for (const step of steps) {
        const before = bench.interrupt.count;
        if (step.kind === 'in') {
          const value = bench.in(step.register);
          t.true(value >= 0 && value <= 0xff);
        } else if (step.kind === 'out') bench.out(step.register, step.value);
        else if (step.kind === 'ier') {
          bench.out(UART_LCR, 0);
          bench.out(UART_IER, step.value);
        } else if (step.kind === 'type') bench.source.type([0x61, 0x62]);
        else if (step.kind === 'drain') bench.sink.drain();
        else if (step.kind === 'break') bench.serial.sendBreak();
        else bench.serial.settle();
        t.true(bench.interrupt.count - before <= 1);
        bench.out(UART_LCR, 0);
        if (bench.in(UART_IER) === 0) t.is(bench.interrupt.count, before);
        if (step.kind === 'settle') seen();
      }
      bench.serial.settle();
      const told = bench.interrupt.count;
      if (!seen()) t.true(told > atQuiet);
    }),
    { numRuns: 500 },
  );
});
