import test from 'ava';
import { PortBus } from '../../devices/port-bus.ts';
import { Power } from '../../devices/power.ts';
import { Pvpanic } from '../../devices/pvpanic.ts';
import * as ports from '../../lib/memory/ports.ts';

function bench(): { bus: PortBus; events: string[] } {
  const events: string[] = [];
  const bus = new PortBus();
  const power = new Power(
    () => events.push('power off'),
    () => events.push('reset'),
  );
  bus.add(ports.ACPI_SLEEP_CONTROL_PORT, 1, power.sleepControl, 1);
  bus.add(ports.ACPI_SLEEP_STATUS_PORT, 1, power.sleepStatus, 1);
  bus.add(ports.ACPI_RESET_PORT, 1, power.reset, 1);
  bus.add(ports.PVPANIC_PORT, 1, new Pvpanic((event) => events.push(event)), 1);
  return { bus, events };
}

test('entering S5 powers off, and nothing else written there does', (t) => {
  const { bus, events } = bench();
  for (let value = 0; value < 256; value++) {
    if ((value & 0x3c) === ports.ACPI_POWER_OFF_VALUE) continue;
    bus.write(ports.ACPI_SLEEP_CONTROL_PORT, 1, value);
  }
  t.deepEqual(events, []);
  bus.write(ports.ACPI_SLEEP_CONTROL_PORT, 1, ports.ACPI_POWER_OFF_VALUE);
  t.deepEqual(events, ['power off']);
});

test("what Linux does to enter S5: clear WAK_STS, then write SLP_TYP with SLP_EN (ACPICA's acpi_hw_extended_sleep)", (t) => {
  const { bus, events } = bench();
  bus.write(ports.ACPI_SLEEP_STATUS_PORT, 1, ports.ACPI_SLEEP_STATUS_WAK_STS);
  t.is(bus.read(ports.ACPI_SLEEP_STATUS_PORT, 1) & ports.ACPI_SLEEP_STATUS_WAK_STS, 0);
  const control = bus.read(ports.ACPI_SLEEP_CONTROL_PORT, 1);
  t.is(control, 0);
  bus.write(ports.ACPI_SLEEP_CONTROL_PORT, 1, (5 << 2) | (1 << 5));
  t.deepEqual(events, ['power off']);
});

test('the reset register reacts to its value alone', (t) => {
  const { bus, events } = bench();
  for (let value = 0; value < 256; value++) {
    if (value !== ports.ACPI_RESET_VALUE) bus.write(ports.ACPI_RESET_PORT, 1, value);
  }
  t.deepEqual(events, []);
  bus.write(ports.ACPI_RESET_PORT, 1, ports.ACPI_RESET_VALUE);
  t.deepEqual(events, ['reset']);
  t.is(bus.read(ports.ACPI_RESET_PORT, 1), 0);
});

test('pvpanic names what it understands, and reports it', (t) => {
  const { bus, events } = bench();
  t.is(bus.read(ports.PVPANIC_PORT, 1), 3);
  bus.write(ports.PVPANIC_PORT, 1, 0);
  bus.write(ports.PVPANIC_PORT, 1, 0xfc);
  t.deepEqual(events, []);
  bus.write(ports.PVPANIC_PORT, 1, 2);
  bus.write(ports.PVPANIC_PORT, 1, 1);
  t.deepEqual(events, ['crash-loaded', 'panicked']);
});
