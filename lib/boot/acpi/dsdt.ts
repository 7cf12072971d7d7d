import { PCI_ECAM_SIZE, PCI_ECAM_START, PCI_MMIO_SIZE, PCI_MMIO_START } from '../../memory/layout.ts';
import {
  ACPI_SLP_TYP_S5,
  COM1_IRQ,
  COM1_PORT,
  COM1_PORT_COUNT,
  I8042_COMMAND_PORT,
  I8042_DATA_PORT,
  I8042_KEYBOARD_IRQ,
  PCI_CONFIG_ADDRESS_PORT,
  PVPANIC_PORT,
} from '../../memory/ports.ts';
import type { MachineDevices } from '../devices.ts';
import {
  type Aml,
  busRange,
  device,
  edgeInterrupt,
  eisaId,
  integer,
  ioPorts,
  ioRange,
  isaIrq,
  memory32,
  memoryRange,
  name,
  pkg,
  resourceTemplate,
  scope,
  string,
} from './aml.ts';

/*
 * The DSDT's one block of AML: what the guest cannot probe. It holds no method, so that there is nothing to run, and leaves out
 * whatever has a fitting default (`_STA`: present; `_UID` where an `_HID` is used once).
 */

const hid = (id: Aml): Aml => name('_HID', id);
const uid = (id: number): Aml => name('_UID', integer(id));
const crs = (...descriptors: Aml[]): Aml => name('_CRS', resourceTemplate(...descriptors));
/** `V003`: a letter and three hexadecimal digits. */
const label = (letter: string, index: number): string => letter + index.toString(16).toUpperCase().padStart(3, '0');

/** The processor devices: §8.4 wants one for each CPU of the MADT, with the same `_UID`. */
function processor(index: number): Aml {
  return device(label('C', index), hid(string('ACPI0007')), uid(index));
}

function serial(): Aml {
  return device('COM1', hid(eisaId('PNP0501')), crs(ioPorts(COM1_PORT, COM1_PORT_COUNT), isaIrq(COM1_IRQ)));
}

function keyboard(): Aml {
  return device(
    'KBD',
    hid(eisaId('PNP0303')),
    crs(ioPorts(I8042_DATA_PORT, 1), ioPorts(I8042_COMMAND_PORT, 1), isaIrq(I8042_KEYBOARD_IRQ)),
  );
}

function pvpanic(): Aml {
  return device('PVPN', hid(string('QEMU0001')), crs(ioPorts(PVPANIC_PORT, 1)));
}

function virtioMmio(index: number, address: number, size: number, gsi: number): Aml {
  return device(
    label('V', index),
    hid(string('LNRO0005')),
    uid(index),
    crs(memory32(address, size), edgeInterrupt(gsi)),
  );
}

/** The host bridge, and the motherboard's claim to its configuration space (PCI Firmware Specification 3.2, §4.1.2). */
function pci(devices: NonNullable<MachineDevices['pci']>): Aml {
  const routes = devices.interrupts.map(({ slot, pin, gsi }) =>
    // §6.2.13: the device with any function, its pin, no link device, the GSI.
    pkg(integer(slot * 0x1_0000 + 0xffff), integer(pin), integer(0), integer(gsi)),
  );
  return [
    ...device(
      'PCI0',
      hid(eisaId('PNP0A08')),
      name('_CID', eisaId('PNP0A03')),
      crs(
        busRange(0, 0),
        ...(devices.hasIoPorts
          ? [
              ioPorts(PCI_CONFIG_ADDRESS_PORT, 8),
              ioRange(0, PCI_CONFIG_ADDRESS_PORT - 1),
              ioRange(PCI_CONFIG_ADDRESS_PORT + 8, 0xffff),
            ]
          : []),
        memoryRange(PCI_MMIO_START, PCI_MMIO_SIZE),
      ),
      ...(routes.length > 0 ? [name('_PRT', pkg(...routes))] : []),
    ),
    ...device('MRES', hid(eisaId('PNP0C02')), crs(memory32(PCI_ECAM_START, PCI_ECAM_SIZE))),
  ];
}

/** The AML of the DSDT, without the table's header. */
export function dsdtAml(vcpuCount: number, devices: MachineDevices): Aml {
  const terms: Aml[] = [];
  if (devices.acpiProcessors ?? true) for (let i = 0; i < vcpuCount; i++) terms.push(processor(i));
  if (devices.serial) terms.push(serial());
  if (devices.i8042) terms.push(keyboard());
  if (devices.pvpanic) terms.push(pvpanic());
  for (const [i, { address, size, gsi }] of devices.virtioMmio.entries()) {
    terms.push(virtioMmio(i, address, size, gsi));
  }
  if (devices.pci !== undefined) terms.push(pci(devices.pci));
  return [
    // §7.4.2.6: what to write to the sleep control register to power off.
    ...name('_S5', pkg(integer(ACPI_SLP_TYP_S5))),
    ...scope('_SB', ...terms),
  ];
}
