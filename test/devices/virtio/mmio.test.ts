import test from 'ava';
import * as mmio from '../../../devices/virtio/mmio.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { compareWithC, constantsOf } from '../../helpers/c-layout.ts';
import { Driver } from '../../helpers/virtio/driver.ts';
import { EchoDevice } from '../../helpers/virtio/echo-device.ts';
import type { MmioRegisters } from '../../helpers/virtio/mmio-registers.ts';

function setUp() {
  const device = new EchoDevice();
  const driver = new Driver('mmio', device, GuestMemory.plain(1 << 20));
  return { device, driver, registers: driver.registers as MmioRegisters };
}

test('the registers are where Linux has them', (t) => {
  const constants: Record<string, number> = constantsOf(mmio);
  delete constants.VIRTIO_MMIO_QUEUE_RESET;
  compareWithC(t, { headers: ['linux/virtio_mmio.h'], constants });
  t.is(mmio.VIRTIO_MMIO_QUEUE_RESET, 0x0c0);
});

test('registers answer to whole words only', (t) => {
  const { registers } = setUp();
  t.is(registers.window.read(mmio.VIRTIO_MMIO_MAGIC_VALUE, 1), 0);
  t.is(registers.window.read(mmio.VIRTIO_MMIO_MAGIC_VALUE + 2, 2), 0);
  registers.window.write(mmio.VIRTIO_MMIO_STATUS, 1, 1);
  t.is(registers.status, 0);
});

test('a shared memory region that is not there has length −1', (t) => {
  const { registers } = setUp();
  registers.write(mmio.VIRTIO_MMIO_SHM_SEL, 0);
  t.is(registers.read(mmio.VIRTIO_MMIO_SHM_LEN_LOW), 0xffff_ffff);
  t.is(registers.read(mmio.VIRTIO_MMIO_SHM_LEN_HIGH), 0xffff_ffff);
});

test('interrupts of both kinds are acknowledged apart, and gone after a reset', (t) => {
  const { device, driver, registers } = setUp();
  driver.start();
  device.host?.interrupt(0);
  device.host?.configChanged();
  t.is(registers.edges, 2);
  t.is(registers.read(mmio.VIRTIO_MMIO_INTERRUPT_STATUS), 3);
  registers.write(mmio.VIRTIO_MMIO_INTERRUPT_ACK, 1);
  t.is(registers.read(mmio.VIRTIO_MMIO_INTERRUPT_STATUS), 2);
  registers.status = 0;
  t.is(registers.read(mmio.VIRTIO_MMIO_INTERRUPT_STATUS), 0);
});

test('a driver that goes takes its queue out of use', (t) => {
  const { device, driver, registers } = setUp();
  driver.start();
  registers.write(mmio.VIRTIO_MMIO_QUEUE_SEL, 1);
  registers.write(mmio.VIRTIO_MMIO_QUEUE_READY, 0);
  t.false(registers.isEnabled(1));
  t.true(registers.isEnabled(0));
  t.deepEqual(device.resetQueues, [1]);
  t.false(driver.core.queues[1]!.live);
});
