import test from 'ava';
import fc from 'fast-check';
import { I8042 } from '../../devices/i8042.ts';
import { OpenBus } from '../../devices/open-bus.ts';
import { PortBus } from '../../devices/port-bus.ts';
import { TestInterrupt } from './serial-bench.ts';

const STATUS_OBF = 0x01;
const STATUS_CMDDAT = 0x08;
const STATUS_KEYLOCK = 0x10;
const CTR_KBDINT = 0x01;
const CTR_KBDDIS = 0x10;
const CTR_AUXDIS = 0x20;
const CTR_XLATE = 0x40;

class Bench {
  readonly interrupt = new TestInterrupt();
  resets = 0;
  readonly device = new I8042(this.interrupt, () => this.resets++);
  readonly bus = new PortBus();

  constructor() {
    this.bus.add(0x60, 1, this.device.data, 1);
    this.bus.add(0x64, 1, this.device.command, 1);
    this.bus.add(0x61, 1, new OpenBus(), 1);
  }

  get status(): number {
    return this.bus.read(0x64, 1);
  }

  get data(): number {
    return this.bus.read(0x60, 1);
  }

  command(value: number, ...parameters: number[]): void {
    this.bus.write(0x64, 1, value);
    for (const parameter of parameters) this.bus.write(0x60, 1, parameter);
  }

  /** A byte to the keyboard. @returns all that comes back, taken byte by byte as interrupts come */
  keyboard(...bytes: number[]): number[] {
    for (const byte of bytes) this.bus.write(0x60, 1, byte);
    return this.interrupts();
  }

  /** What an interrupt handler that takes one byte an interrupt receives. */
  interrupts(): number[] {
    const received: number[] = [];
    while (this.interrupt.latched) {
      this.interrupt.latched = false;
      if ((this.status & STATUS_OBF) !== 0) received.push(this.data);
    }
    return received;
  }

  /** `i8042_command` of Linux's drivers/input/serio/i8042.c: bits 15:12 of the code count parameters, 11:8 answers. */
  linuxCommand(code: number, parameters: number[]): number[] | 'timeout' | 'no aux' {
    this.command(code & 0xff, ...parameters.slice(0, code >> 12));
    const answers: number[] = [];
    for (let i = 0; i < ((code >> 8) & 0xf); i++) {
      if ((this.status & STATUS_OBF) === 0) return 'timeout';
      if (code === 0x11d3 && (this.status & 0x20) === 0) return 'no aux';
      answers.push(this.data);
    }
    return answers;
  }
}

test("Linux's driver finds the controller and the keyboard, and no mouse, without waiting for anything", (t) => {
  const bench = new Bench();
  // i8042_flush, i8042_controller_selftest, i8042_controller_init
  t.is(bench.status & STATUS_OBF, 0);
  t.deepEqual(bench.linuxCommand(0x1aa, []), [0x55]);
  const [ctr] = bench.linuxCommand(0x120, []) as number[];
  t.is(ctr! & (CTR_XLATE | CTR_AUXDIS | CTR_KBDDIS), CTR_XLATE | CTR_AUXDIS);
  t.is(bench.status & STATUS_KEYLOCK, STATUS_KEYLOCK);
  const off = (ctr! | CTR_KBDDIS) & ~CTR_KBDINT;
  bench.linuxCommand(0x1060, [off]);
  t.deepEqual(bench.linuxCommand(0x120, []), [off]);
  // i8042_check_aux: the loop test must fail for want of a mouse, and the test of the interface too.
  t.is(bench.linuxCommand(0x11d3, [0x5a]), 'no aux');
  const aux = bench.linuxCommand(0x1a9, []) as number[];
  t.true(aux[0] !== 0 && aux[0] !== 0xfa && aux[0] !== 0xff);
  t.is(bench.status & STATUS_OBF, 0);
  // i8042_enable_kbd_port
  bench.interrupt.latched = false;
  bench.linuxCommand(0x1060, [(off & ~CTR_KBDDIS) | CTR_KBDINT]);
  // atkbd_probe, atkbd_reset_state, atkbd_activate
  t.deepEqual(bench.keyboard(0xf2), [0xfa, 0xab, 0x41]);
  t.deepEqual(bench.keyboard(0xed), [0xfa]);
  t.deepEqual(bench.keyboard(0x00), [0xfa]);
  t.deepEqual(bench.keyboard(0xf3), [0xfa]);
  t.deepEqual(bench.keyboard(0x00), [0xfa]);
  t.deepEqual(bench.keyboard(0xf4), [0xfa]);
  t.is(bench.resets, 0);
});

test('Ctrl-Alt-Del in scan code set 1, as a translating controller passes it', (t) => {
  const bench = new Bench();
  t.true(bench.device.sendCtrlAltDel());
  t.deepEqual(bench.interrupts(), [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d]);
  t.is(bench.status & STATUS_OBF, 0);
});

test('Ctrl-Alt-Del in scan code set 2, where nothing translates', (t) => {
  const bench = new Bench();
  bench.command(0x60, CTR_KBDINT | CTR_AUXDIS);
  t.true(bench.device.sendCtrlAltDel());
  t.deepEqual(bench.interrupts(), [0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14]);
});

test('Ctrl-Alt-Del is refused where the guest does not listen, and types nothing', (t) => {
  const bench = new Bench();
  bench.command(0x60, CTR_XLATE);
  t.false(bench.device.sendCtrlAltDel());
  bench.command(0x60, CTR_XLATE | CTR_KBDINT | CTR_KBDDIS);
  t.false(bench.device.sendCtrlAltDel());
  bench.command(0x60, CTR_XLATE | CTR_KBDINT);
  t.deepEqual(bench.keyboard(0xf5), [0xfa]);
  t.false(bench.device.sendCtrlAltDel());
  t.deepEqual(bench.interrupts(), []);
  t.deepEqual(bench.keyboard(0xf4), [0xfa]);
  t.true(bench.device.sendCtrlAltDel());
  bench.device.sendCtrlAltDel();
  t.false(bench.device.sendCtrlAltDel(), 'a guest that does not keep up');
  t.is(bench.interrupts().length % 8, 0);
});

test('each reset: the pulse of the reset line, and the output port', (t) => {
  const bench = new Bench();
  bench.command(0xfe);
  t.is(bench.resets, 1);
  bench.command(0xff);
  t.is(bench.resets, 1);
  bench.command(0xd1, 0x03);
  t.is(bench.resets, 1);
  bench.command(0xd1, 0x02);
  t.is(bench.resets, 2);
  bench.command(0xf0);
  t.is(bench.resets, 3);
  t.is(bench.device.metrics.resetCount, 3);
});

test('commands of the controller', (t) => {
  const bench = new Bench();
  bench.command(0xaa);
  t.is(bench.data, 0x55);
  bench.command(0xab);
  t.is(bench.data, 0x00);
  bench.command(0xc0);
  t.is(bench.data, 0x80);
  bench.command(0xd1, 0x03);
  bench.command(0xd0);
  t.is(bench.data, 0x03);
  bench.command(0xd2, 0x77);
  t.is(bench.data, 0x77);
  bench.command(0xa8);
  bench.command(0x20);
  t.is(bench.data & CTR_AUXDIS, 0);
  bench.command(0xa7);
  bench.command(0x20);
  t.is(bench.data & CTR_AUXDIS, CTR_AUXDIS);
  bench.command(0xad);
  bench.command(0x20);
  t.is(bench.data & CTR_KBDDIS, CTR_KBDDIS);
  bench.command(0xae);
  bench.command(0x20);
  t.is(bench.data & CTR_KBDDIS, 0);
  bench.command(0xd4, 0xf4);
  t.is(bench.status & STATUS_OBF, 0);
  t.is(bench.status & STATUS_CMDDAT, 0);
  bench.command(0x55);
  t.is(bench.status & (STATUS_OBF | STATUS_CMDDAT), STATUS_CMDDAT);
});

test('commands of the keyboard', (t) => {
  const bench = new Bench();
  t.deepEqual(bench.keyboard(0xff), [0xfa, 0xaa]);
  t.deepEqual(bench.keyboard(0xee), [0xee]);
  t.deepEqual(bench.keyboard(0xf0, 0x00), [0xfa, 0xfa, 0x02]);
  t.deepEqual(bench.keyboard(0xf0, 0x03), [0xfa, 0xfe]);
  t.deepEqual(bench.keyboard(0xf0, 0x02), [0xfa, 0xfa]);
  t.deepEqual(bench.keyboard(0xf6), [0xfa]);
  t.deepEqual(bench.keyboard(0xfa), [0xfa]);
  t.deepEqual(bench.keyboard(0xea), [0xfe]);
  t.deepEqual(bench.keyboard(0xee), [0xee]);
  t.deepEqual(bench.keyboard(0xfe), [0xee]);
  // A command where a parameter was due takes its place.
  t.deepEqual(bench.keyboard(0xed, 0xee), [0xfa, 0xee]);
});

test("the controller's answer goes before the keyboard's bytes, which are kept", (t) => {
  const bench = new Bench();
  bench.device.sendCtrlAltDel();
  bench.command(0x20);
  t.is(bench.data & CTR_KBDINT, CTR_KBDINT);
  t.is(bench.data, 0x1d);
  t.is(bench.data, 0x38);
});

test("a keyboard's byte behind the controller's answer has its own interrupt", (t) => {
  const bench = new Bench();
  bench.device.sendCtrlAltDel();
  bench.command(0xaa);
  t.deepEqual(bench.interrupts(), [0x55, 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d]);
});

test('bytes wait while the keyboard is disabled, and interrupt when it is enabled', (t) => {
  const bench = new Bench();
  bench.keyboard(0xf2);
  bench.device.sendCtrlAltDel();
  bench.command(0xad);
  t.is(bench.interrupts()[0], 0x1d);
  t.is(bench.status & STATUS_OBF, 0);
  bench.command(0xae);
  t.deepEqual(bench.interrupts(), [0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d]);
});

test('a byte that came with interrupts off is told when they are switched on', (t) => {
  const bench = new Bench();
  bench.command(0x60, CTR_XLATE);
  bench.bus.write(0x60, 1, 0xee);
  t.false(bench.interrupt.latched);
  bench.command(0x60, CTR_XLATE | CTR_KBDINT);
  t.deepEqual(bench.interrupts(), [0xee]);
});

test('whatever is written where, bytes come out, and the keyboard still answers after a reset of it', (t) => {
  const step = fc.record({
    port: fc.constantFrom(0x60, 0x64),
    write: fc.boolean(),
    value: fc.nat(0xff),
    keys: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const bench = new Bench();
      for (const { port, write, value, keys } of steps) {
        if (keys) bench.device.sendCtrlAltDel();
        if (write) bench.bus.write(port, 1, value);
        else {
          const read = bench.bus.read(port, 1);
          t.true(read >= 0 && read <= 0xff);
        }
      }
      for (let i = 0; i < 100 && (bench.status & STATUS_OBF) !== 0; i++) t.true(bench.data <= 0xff);
      t.is(bench.status & STATUS_OBF, 0);
      bench.command(0x60, CTR_KBDINT | CTR_XLATE);
      bench.interrupts();
      t.deepEqual(bench.keyboard(0xff).slice(-2), [0xfa, 0xaa]);
      t.true(bench.device.sendCtrlAltDel());
    }),
    { numRuns: 300 },
  );
});
