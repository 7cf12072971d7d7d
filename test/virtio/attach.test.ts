import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { MmioBus } from '../../devices/mmio-bus.ts';
import * as pci from '../../devices/pci/constants.ts';
import { PortBus } from '../../devices/port-bus.ts';
import { VIRTIO_CONFIG_S_NEEDS_RESET } from '../../devices/virtio/constants.ts';
import { ConfigError } from '../../lib/errors.ts';
import { ioctlRead } from '../../lib/kvm/ioctl.ts';
import { KVM_GET_IRQCHIP } from '../../lib/kvm/ioctls.ts';
import { KVM_IRQCHIP_PIC_MASTER, kvm_irqchip } from '../../lib/kvm/structs.ts';
import { PCI_ECAM_START, VIRTIO_MMIO_START } from '../../lib/memory/layout.ts';
import type { VirtioHostOptions } from '../../lib/virtio/host.ts';
import { MmioTransport } from '../../lib/virtio/mmio.ts';
import { PciTransport } from '../../lib/virtio/pci.ts';
import { CODE, TinyVm } from '../helpers/tiny-vm.ts';
import { Driver } from '../helpers/virtio/driver.ts';
import { EchoDevice } from '../helpers/virtio/echo-device.ts';
import { HostileBus } from '../helpers/virtio/hostile-bus.ts';
import { MmioRegisters } from '../helpers/virtio/mmio-registers.ts';
import { PciRegisters } from '../helpers/virtio/pci-registers.ts';
import { SeededTape } from '../helpers/virtio/tape.ts';

const BAR = 0xc000_0000;
const NOTIFY = 0x3000;

const u16 = (value: number) => [value & 0xff, (value >> 8) & 0xff];
const u32 = (value: number) => [...u16(value), ...u16(value >>> 16)];
/** `mov word [address], value`, of 32-bit code. */
const store16 = (address: number, value: number) => [0x66, 0xc7, 0x05, ...u32(address), ...u16(value)];
/** `mov dword [address], value` */
const store32 = (address: number, value: number) => [0xc7, 0x05, ...u32(address), ...u32(value)];
/** `mov ecx, count; again: dec ecx; jnz again`: long enough for the loop to fall asleep. */
const WAIT = [0xb9, ...u32(50_000), 0x49, 0x75, 0xfd];
/** `cli; hlt` */
const HALT = [0xfa, 0xf4];

/** Makes the vCPU run flat 32-bit code. */
function enterProtectedMode(vm: TinyVm, code: number[]): void {
  vm.memory.guest.write(CODE, Uint8Array.from(code));
  const vcpu = vm.vcpus[0]!;
  const sregs = vcpu.getSregs();
  const flat = { base: 0n, limit: 0xffff_ffff, present: 1, dpl: 0, s: 1, g: 1, db: 1, l: 0, unusable: 0 };
  const data = { ...flat, selector: 16, type: 3 };
  const cs = { ...flat, selector: 8, type: 11 };
  vcpu.setSregs({ ...sregs, cr0: sregs.cr0 | 1n, cs, ds: data, es: data, ss: data, fs: data, gs: data });
  vcpu.setRegs({ rip: BigInt(CODE), rflags: 2n });
}

interface Fixture {
  readonly vm: TinyVm;
  readonly mmio: MmioBus;
  readonly options: VirtioHostOptions;
  readonly warnings: string[];
}

async function withVm(body: (fixture: Fixture) => Promise<void>): Promise<void> {
  const vm = new TinyVm([new Uint8Array(1)]);
  const mmio = new MmioBus();
  const warnings: string[] = [];
  const warn = (line: string) => warnings.push(line);
  const options = { vm: vm.vm, loop: vm.loop, memory: vm.memory.guest, mmio, ports: new PortBus(), warn };
  try {
    await body({ vm, mmio, options, warnings });
  } finally {
    // A machine that was never started ends like any other.
    vm.start();
    await vm.end();
  }
}

/** Puts an echo request of 5 bytes into queue 0, but leaves it to the guest to raise `avail->idx`. */
function prepareEcho(driver: Driver): { raise: number[]; answer: () => string } {
  const question = driver.allocate(5);
  const answer = driver.allocate(5);
  driver.memory.write(question, new TextEncoder().encode('hello'));
  const ring = driver.ring();
  ring.offer(
    ring.prepare([
      { address: question, length: 5, writable: false },
      { address: answer, length: 5, writable: true },
    ]),
  );
  return {
    raise: store16(ring.place.available + 2, 1),
    answer: () => new TextDecoder().decode(driver.memory.read(answer, 5)),
  };
}

/** Runs the guest until `done`. It stands still afterwards, as who wants to look at a vCPU needs it. */
async function runUntil(t: ExecutionContext, vm: TinyVm, done: () => boolean): Promise<void> {
  const running = vm.loop.run();
  vm.runner.resume();
  for (let i = 0; i < 1000 && !done(); i++) await sleep(5);
  t.true(done());
  await vm.runner.pause();
  vm.loop.stop();
  await running;
}

/** The master PIC's request for an interrupt. */
function isRequested(vm: TinyVm, irq: number): boolean {
  const argument = kvm_irqchip.encode({ chip_id: KVM_IRQCHIP_PIC_MASTER });
  const chip = kvm_irqchip.decode(ioctlRead(vm.vm.fd, KVM_GET_IRQCHIP, kvm_irqchip.size, 'look', argument));
  return (chip.chip.pic.irr & (1 << irq)) !== 0;
}

test.serial('mmio: a guest notifies without an exit, and the answer raises its interrupt', async (t) => {
  await withVm(async ({ vm, mmio, options }) => {
    const transport = new MmioTransport(options);
    const device = new EchoDevice();
    const core = transport.attach(device);
    t.deepEqual(transport.windows, [{ address: VIRTIO_MMIO_START, size: 4096, gsi: 5 }]);
    const registers = new MmioRegisters({
      read: (offset, size) => mmio.read(VIRTIO_MMIO_START + offset, size as 4),
      write: (offset, size, value) => mmio.write(VIRTIO_MMIO_START + offset, size as 4, value),
    });
    const driver = new Driver({ core, registers }, device, options.memory);
    driver.allocate(0x8000);
    driver.start();
    const echo = prepareEcho(driver);
    enterProtectedMode(vm, [...WAIT, ...echo.raise, ...store32(VIRTIO_MMIO_START + 0x50, 0), ...HALT]);
    await runUntil(t, vm, () => device.notified.length > 0);
    t.is(echo.answer(), 'hello');
    t.deepEqual(vm.mmio.accesses, []);
    t.is(registers.read(0x60), 1);
    // KVM raises it from a work queue of the host's.
    for (let i = 0; i < 1000 && !isRequested(vm, 5); i++) await sleep(5);
    t.true(isRequested(vm, 5));
    transport.close();
  });
});

test.serial('mmio: notifications of other queues and other values', async (t) => {
  await withVm(async ({ vm, mmio, options }) => {
    const transport = new MmioTransport(options);
    const device = new EchoDevice();
    const core = transport.attach(device);
    const registers = new MmioRegisters({
      read: (offset, size) => mmio.read(VIRTIO_MMIO_START + offset, size as 4),
      write: (offset, size, value) => mmio.write(VIRTIO_MMIO_START + offset, size as 4, value),
    });
    const driver = new Driver({ core, registers }, device, options.memory);
    driver.allocate(0x8000);
    driver.start();
    const { available } = driver.ring(1).place;
    driver.ring(1).offer(driver.ring(1).prepare([{ address: 0x9000, length: 1, writable: false }]));
    const notify = VIRTIO_MMIO_START + 0x50;
    const code = [...WAIT, ...store32(notify, 7), ...store16(available + 2, 1), ...store32(notify, 1), ...HALT];
    enterProtectedMode(vm, code);
    await runUntil(t, vm, () => device.notified.length > 0);
    t.deepEqual(device.notified, [1]);
    // There is no queue 7: that write comes as an exit, which the window ignores.
    t.deepEqual(vm.mmio.accesses, [{ write: true, address: notify, size: 4, value: 7 }]);
    transport.close();
  });
});

test.serial('mmio: room for 17 devices, each with its own interrupt', async (t) => {
  await withVm(async ({ options }) => {
    const transport = new MmioTransport(options);
    for (let i = 0; i < 17; i++) transport.attach(new EchoDevice());
    const gsis = transport.windows.map(({ gsi }) => gsi);
    t.is(new Set(gsis).size, 17);
    t.true(gsis.every((gsi) => gsi >= 5 && gsi < 24));
    t.throws(() => transport.attach(new EchoDevice()), { instanceOf: ConfigError });
    transport.close();
  });
});

/** The local APIC's request for a vector. */
function requested(vm: TinyVm, vector: number): boolean {
  const view = new DataView(Uint8Array.from(vm.vcpus[0]!.getLapic()).buffer);
  return (view.getUint32(0x200 + 0x10 * (vector >> 5), true) & (1 << (vector & 31))) !== 0;
}

function enableLapic(vm: TinyVm): void {
  const lapic = Uint8Array.from(vm.vcpus[0]!.getLapic());
  // Spurious interrupt vector register: software enable (Intel SDM 3A section 11.9).
  new DataView(lapic.buffer).setUint32(0xf0, 0x1ff, true);
  vm.vcpus[0]!.setLapic(lapic);
}

test.serial('pci: a guest notifies without an exit, and the answer arrives as a message', async (t) => {
  await withVm(async ({ vm, mmio, options }) => {
    const transport = new PciTransport(options);
    const device = new EchoDevice();
    const core = transport.attach(device);
    const registers = new PciRegisters(
      { read: (address, size) => mmio.read(address, size as 4), write: (a, size, v) => mmio.write(a, size as 4, v) },
      {
        read: (o, size) => mmio.read(PCI_ECAM_START + o, size as 4),
        write: (o, s, v) => mmio.write(PCI_ECAM_START + o, s as 4, v),
      },
      1,
    );
    t.is(registers.bar, BAR);
    enableLapic(vm);
    const driver = new Driver({ core, registers }, device, options.memory);
    driver.allocate(0x8000);
    driver.start();
    const echo = prepareEcho(driver);
    enterProtectedMode(vm, [...WAIT, ...echo.raise, ...store16(BAR + NOTIFY, 0), ...HALT]);
    await runUntil(t, vm, () => device.notified.length > 0);
    t.is(echo.answer(), 'hello');
    t.deepEqual(vm.mmio.accesses, []);
    t.true(requested(vm, 0x41));
    t.false(requested(vm, 0x40));
    device.host?.configChanged();
    vm.loop.arena.submit();
    t.true(requested(vm, 0x40));
    transport.close();
  });
});

test.serial('pci: a BAR that the guest moves takes its notifications along', async (t) => {
  await withVm(async ({ vm, mmio, options }) => {
    const transport = new PciTransport(options);
    const device = new EchoDevice();
    const core = transport.attach(device);
    const ecam = {
      read: (o: number, size: number) => mmio.read(PCI_ECAM_START + o, size as 4),
      write: (o: number, size: number, v: number) => mmio.write(PCI_ECAM_START + o, size as 4, v),
    };
    const space = {
      read: (a: number, size: number) => mmio.read(a, size as 4),
      write: (a: number, size: number, v: number) => mmio.write(a, size as 4, v),
    };
    const registers = new PciRegisters(space, ecam, 1);
    const driver = new Driver({ core, registers }, device, options.memory);
    driver.allocate(0x8000);
    driver.start();
    const echo = prepareEcho(driver);
    const moved = 0xc123_0000;
    registers.setConfig(pci.PCI_BASE_ADDRESS_0, 4, moved);
    t.is(registers.status & 4, 4);
    const code = [...WAIT, ...store16(BAR + NOTIFY, 0), ...echo.raise, ...store16(moved + NOTIFY, 0), ...HALT];
    enterProtectedMode(vm, code);
    await runUntil(t, vm, () => device.notified.length > 0);
    t.deepEqual(vm.mmio.accesses, [{ write: true, address: BAR + NOTIFY, size: 2, value: 0 }]);
    // Where RAM is, or another device, it vanishes from the bus, and comes back when it is moved away.
    for (const nowhere of [0x10_0000, PCI_ECAM_START]) {
      registers.setConfig(pci.PCI_BASE_ADDRESS_0, 4, nowhere);
      registers.setConfig(pci.PCI_BASE_ADDRESS_0, 4, BAR);
      t.is(registers.status & 4, 4);
    }
    transport.close();
  });
});

test.serial('pci: messages that KVM would refuse harm nobody', async (t) => {
  await withVm(async ({ vm, mmio, options, warnings }) => {
    const transport = new PciTransport(options);
    const device = new EchoDevice();
    const core = transport.attach(device);
    const other = new EchoDevice();
    transport.attach(other);
    const ecam = {
      read: (o: number, size: number) => mmio.read(PCI_ECAM_START + o, size as 4),
      write: (o: number, size: number, v: number) => mmio.write(PCI_ECAM_START + o, size as 4, v),
    };
    const space = {
      read: (a: number, size: number) => mmio.read(a, size as 4),
      write: (a: number, size: number, v: number) => mmio.write(a, size as 4, v),
    };
    const registers = new PciRegisters(space, ecam, 1);
    t.is(new PciRegisters(space, ecam, 2).bar, BAR + 0x8000);
    enableLapic(vm);
    const driver = new Driver({ core, registers }, device, options.memory);
    driver.start();
    for (const value of [0xffff_ffff, 0, 0x8000_0000]) {
      for (let at = 0; at < 48; at += 4) if (at % 16 !== 12) space.write(BAR + 0x4000 + at, 4, value);
      device.host?.interrupt(0);
      device.host?.configChanged();
      vm.loop.arena.submit();
    }
    registers.prepareInterrupts();
    device.host?.interrupt(0);
    vm.loop.arena.submit();
    t.true(requested(vm, 0x41));
    t.is(registers.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    t.deepEqual(warnings, []);
    transport.close();
  });
});

test.serial('pci: whatever a guest writes to the bus, KVM takes what is made of it', async (t) => {
  await withVm(async ({ mmio, options, warnings }) => {
    const transport = new PciTransport(options);
    const devices = [0, 1, 2].map(() => {
      const device = new EchoDevice();
      return { device, core: transport.attach(device) };
    });
    let steps = 0;
    const check = () => {
      steps++;
      // Interrupts and notifications leave with the loop's batches.
      options.loop.arena.submit();
    };
    const { memory, ports } = options;
    const guest = new HostileBus({ memory, mmio, ports, devices, check });
    for (let seed = 1; seed <= 4; seed++) guest.run(new SeededTape(seed), 500);
    t.true(steps > 2000);
    t.deepEqual(warnings, []);
    transport.close();
  });
});

test.serial('a driver at fault is told to the log, by the name of its device', async (t) => {
  await withVm(async ({ vm, mmio, options, warnings }) => {
    const transport = new MmioTransport(options);
    const device = new EchoDevice();
    const core = transport.attach(device);
    const registers = new MmioRegisters({
      read: (offset, size) => mmio.read(VIRTIO_MMIO_START + offset, size as 4),
      write: (offset, size, value) => mmio.write(VIRTIO_MMIO_START + offset, size as 4, value),
    });
    const driver = new Driver({ core, registers }, device, options.memory);
    driver.start();
    driver.ring().setAvailableIndex(1000);
    enterProtectedMode(vm, HALT);
    await runUntil(t, vm, () => warnings.length > 0);
    t.deepEqual(warnings, [
      "echo: the guest's driver is at fault, the device needs a reset: more buffers available than the queue has descriptors",
    ]);
    transport.close();
  });
});
