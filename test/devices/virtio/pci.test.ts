import test from 'ava';
import { MmioBus } from '../../../devices/mmio-bus.ts';
import { BarSpace } from '../../../devices/pci/bar-space.ts';
import { PciBus } from '../../../devices/pci/bus.ts';
import * as pci from '../../../devices/pci/constants.ts';
import * as layout from '../../../devices/virtio/pci/layout.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { compareWithC, constantsOf } from '../../helpers/c-layout.ts';
import { Driver } from '../../helpers/virtio/driver.ts';
import { EchoDevice } from '../../helpers/virtio/echo-device.ts';
import type { OwnPciRegisters } from '../../helpers/virtio/pci-registers.ts';

function setUp() {
  const device = new EchoDevice();
  const driver = new Driver('pci', device, GuestMemory.plain(1 << 20));
  const registers = driver.registers as OwnPciRegisters;
  return { device, driver, registers, bus: registers.bus, space: registers.space };
}

test('the structures are as Linux has them', (t) => {
  const constants = constantsOf(layout);
  for (const name of Object.keys(constants)) if (/^(PAGE_|NOTIFY_)/.test(name)) delete constants[name];
  const own = ['VIRTIO_PCI_BAR_SIZE', 'VIRTIO_PCI_COMMON_SIZE', 'VIRTIO_PCI_ISR_QUEUE'];
  for (const name of own) delete constants[name];
  t.true(Object.keys(constants).length > 30);
  compareWithC(t, { headers: ['linux/virtio_pci.h'], constants });
});

test('configuration space is as Linux has it', (t) => {
  const constants: Record<string, number> = constantsOf(pci);
  for (const name of Object.keys(constants))
    if (name.startsWith('PCI_CLASS_') && name !== 'PCI_CLASS_PROG') delete constants[name];
  constants.PCI_CLASS_DEVICE = pci.PCI_CLASS_DEVICE;
  compareWithC(t, { headers: ['linux/pci_regs.h'], constants });
});

test('the bus: a host bridge, the device, and nothing else', (t) => {
  const { bus, registers } = setUp();
  t.is(registers.device, 1);
  t.is(bus.ecam.read(pci.PCI_CLASS_DEVICE, 2), pci.PCI_CLASS_BRIDGE_HOST);
  t.is(bus.ecam.read(2 << 15, 4), 0xffff_ffff);
  t.is(bus.ecam.read((1 << 15) | (1 << 12), 2), 0xffff, 'no second function');
  t.is(registers.config(pci.PCI_HEADER_TYPE, 1), 0);
  t.is(registers.config(0x100, 4), 0, 'no extended capabilities');
  bus.ecam.write(2 << 15, 4, 0);
});

test('the same through the configuration ports', (t) => {
  const { bus } = setUp();
  const { ports } = bus;
  t.is(ports.read(4, 4), 0xffff_ffff, 'not enabled');
  ports.write(0, 4, 0x8000_0000 | (1 << 11));
  t.is(ports.read(0, 4), 0x8000_0800);
  t.is(ports.read(4, 4), ((0x1040 + 42) << 16) | 0x1af4);
  t.is(ports.read(6, 2), 0x1040 + 42);
  ports.write(0, 4, 0x8000_0000 | (1 << 11) | pci.PCI_INTERRUPT_LINE);
  ports.write(4, 1, 9);
  t.is(ports.read(4, 1), 9);
  ports.write(0, 1, 0xff);
  ports.write(2, 2, 0xffff);
  t.is(ports.read(0, 4), 0x8000_0800 + pci.PCI_INTERRUPT_LINE, 'CONFIG_ADDRESS takes whole words only');
  t.is(ports.read(1, 1), 0xff);
  ports.write(0, 4, 0x8001_0000);
  t.is(ports.read(4, 4), 0xffff_ffff, 'there is no bus 1');
});

test('the bus has room for 31 devices', (t) => {
  const bus = new PciBus();
  const device = { readConfig: () => 0, writeConfig: () => undefined };
  for (let i = 1; i < 32; i++) t.is(bus.add(device), i);
  t.throws(() => bus.add(device), { instanceOf: RangeError });
});

test('identity is read-only', (t) => {
  const { registers } = setUp();
  for (const offset of [pci.PCI_VENDOR_ID, pci.PCI_REVISION_ID, pci.PCI_SUBSYSTEM_VENDOR_ID, pci.PCI_CAPABILITY_LIST]) {
    const before = registers.config(offset, 4);
    registers.setConfig(offset, 4, ~before >>> 0);
    t.is(registers.config(offset, 4), before);
  }
});

test('the BAR: sized, moved, hidden, and refused where something lies until that goes', (t) => {
  const { device, driver, registers, space } = setUp();
  t.is(registers.barSize, layout.VIRTIO_PCI_BAR_SIZE);
  const moves: (number | undefined)[] = [];
  registers.function.listener = { notifyMoved: (address) => moves.push(address) };
  const moveTo = (address: number) => registers.setConfig(pci.PCI_BASE_ADDRESS_0, 4, address);
  t.is(registers.function.notifyAddress, 0xc000_3000);
  moveTo(0xc100_0000);
  t.deepEqual(moves.splice(0), [0xc100_3000]);
  driver.start();
  t.not(device.host, undefined);
  registers.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MASTER);
  t.is(registers.function.notifyAddress, undefined);
  t.is(registers.status, 0xff);
  space.add(0xc200_4000, 0x1000, registers.function);
  moveTo(0xc200_0000);
  registers.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
  t.is(registers.function.notifyAddress, undefined);
  moveTo(0xc000_0000);
  t.deepEqual(moves.splice(0), [undefined, 0xc000_3000]);
  for (const ram of [0, 0x10_0000, 0xbfff_8000]) {
    moveTo(ram);
    t.is(registers.function.notifyAddress, undefined);
  }
  moveTo(0xffff_8000);
  t.is(registers.function.notifyAddress, 0xffff_b000);
  moveTo(0xc000_0000);
  t.is(registers.status & 4, 4, 'its state outlived all that');
});

test('two BARs at one address: the second is decoded as soon as the first is gone', (t) => {
  const bus = new MmioBus();
  const space = new BarSpace(bus, 0xc000_0000, 0x1_0000_0000);
  const moves: [number, number | undefined][] = [];
  const places = [1, 2, 3].map((name) => {
    const device = { read: () => name, write: () => undefined };
    return space.add({ size: 0x1000, device, moved: (address) => moves.push([name, address]) });
  });
  for (const place of places) place.move(0xc000_0000);
  t.deepEqual(moves.splice(0), [[1, 0xc000_0000]]);
  places[0]!.move(0xc000_1000);
  t.deepEqual(moves.splice(0), [
    [1, 0xc000_1000],
    [2, 0xc000_0000],
  ]);
  t.is(bus.read(0xc000_1000, 4), 1);
  t.is(bus.read(0xc000_0000, 4), 2);
  // They change places.
  places[0]!.move(0xc000_0000);
  places[1]!.move(0xc000_1000);
  places[2]!.move(undefined);
  t.deepEqual(moves.splice(0), [
    [1, undefined],
    [2, 0xc000_1000],
    [1, 0xc000_0000],
  ]);
  t.is(bus.read(0xc000_0000, 4), 1);
  places[0]!.move(undefined);
  t.is(bus.read(0xc000_0000, 4), 0xffff_ffff);
});

test('a device that is no bus master any more is reset, and works again', (t) => {
  const { device, driver, registers } = setUp();
  driver.start();
  registers.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY);
  t.is(device.resets, 1);
  t.is(registers.status, 0);
  registers.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
  driver.start();
  t.is(registers.status & 0xf, 0xf);
  t.is(device.resets, 1, 'a device that is not started has nothing to stop');
});

test('the BAR is reached through configuration space too', (t) => {
  const { driver, registers } = setUp();
  const window = registers.capability(layout.VIRTIO_PCI_CAP_PCI_CFG);
  const at = (offset: number, size: number) => {
    registers.setConfig(window + layout.VIRTIO_PCI_CAP_BAR, 1, 0);
    registers.setConfig(window + layout.VIRTIO_PCI_CAP_OFFSET, 4, offset);
    registers.setConfig(window + layout.VIRTIO_PCI_CAP_LENGTH, 4, size);
  };
  driver.start();
  at(layout.VIRTIO_PCI_COMMON_NUMQ, 2);
  t.is(registers.config(window + 16, 4), 2);
  at(layout.VIRTIO_PCI_COMMON_STATUS, 1);
  registers.setConfig(window + 16, 4, 0xffff_ff00);
  t.is(registers.status, 0);
  at(layout.VIRTIO_PCI_COMMON_NUMQ, 3);
  t.is(registers.config(window + 16, 4), 0, 'no such width');
  at(0xffff_fffe, 2);
  t.is(registers.config(window + 16, 4), 0, 'nothing there');
});

test('a masked vector is remembered and sent once it is not', (t) => {
  const { device, driver, registers } = setUp();
  driver.start();
  const { arrived } = registers.messages;
  registers.maskVector(1, true);
  device.host?.interrupt(0);
  device.host?.interrupt(1);
  t.deepEqual(arrived, []);
  t.is(registers.pendingBits(), 2);
  registers.maskVector(1, false);
  t.deepEqual(arrived, [0x41]);
  t.is(registers.pendingBits(), 0);
  registers.setConfig(registers.msix + pci.PCI_MSIX_FLAGS, 2, pci.PCI_MSIX_FLAGS_ENABLE | pci.PCI_MSIX_FLAGS_MASKALL);
  device.host?.interrupt(0);
  t.is(registers.pendingBits(), 2);
  registers.setConfig(registers.msix + pci.PCI_MSIX_FLAGS, 2, pci.PCI_MSIX_FLAGS_ENABLE);
  t.deepEqual(arrived, [0x41, 0x41]);
});

test('a vector whose message changes sends the new one', (t) => {
  const { device, driver, registers } = setUp();
  driver.start();
  device.host?.interrupt(0);
  registers.setMessage(1, 0x55);
  device.host?.interrupt(0);
  t.deepEqual(registers.messages.arrived, [0x41, 0x55]);
});

test('a vector that is not there reads back as none, and a reset forgets all', (t) => {
  const { driver, registers } = setUp();
  driver.start();
  registers.setCommon(layout.VIRTIO_PCI_COMMON_MSIX, 2, 3);
  t.is(registers.common(layout.VIRTIO_PCI_COMMON_MSIX, 2), layout.VIRTIO_MSI_NO_VECTOR);
  t.is(registers.common(layout.VIRTIO_PCI_COMMON_Q_MSIX, 2), 1);
  registers.status = 0;
  t.is(registers.common(layout.VIRTIO_PCI_COMMON_Q_MSIX, 2), layout.VIRTIO_MSI_NO_VECTOR);
});

test('without MSI-X the ISR status tells, and is cleared by reading it', (t) => {
  const { device, driver, registers } = setUp();
  driver.start();
  registers.setConfig(registers.msix + pci.PCI_MSIX_FLAGS, 2, 0);
  device.host?.interrupt(0);
  device.host?.configChanged();
  t.deepEqual(registers.messages.arrived, []);
  t.is(registers.readIsr(), layout.VIRTIO_PCI_ISR_QUEUE | layout.VIRTIO_PCI_ISR_CONFIG);
  t.is(registers.readIsr(), 0);
});
