import * as pci from '../../../devices/pci/constants.ts';
import type { Driver } from './driver.ts';
import type { MmioRegisters } from './mmio-registers.ts';
import { OwnPciRegisters } from './pci-registers.ts';
import { below, onceIn, pick, type Tape } from './tape.ts';

const MMIO_WINDOW = 0x120;
const PCI_PAGES = 8;
const PCI_PAGE_USED = 0x50;
const CONFIG_SPACE = 256;

/** Reads or writes one register of a device's own transport, of any width: one that is there or not, configuration space and BAR of PCI. */
export function touchRegister(tape: Tape, { registers }: Driver): void {
  const size = pick(tape, [1, 2, 4, 4] as const);
  const value = (onceIn(tape, 2) ? below(tape, 20) : tape.next()) % 2 ** (8 * size);
  if (!(registers instanceof OwnPciRegisters)) {
    const { window } = registers as MmioRegisters;
    const offset = below(tape, MMIO_WINDOW);
    if (onceIn(tape, 3)) window.read(offset, size);
    else window.write(offset, size, value);
    return;
  }
  const { function: device } = registers;
  const inConfig = onceIn(tape, 3);
  const offset = inConfig ? below(tape, CONFIG_SPACE) : (below(tape, PCI_PAGES) << 12) | below(tape, PCI_PAGE_USED);
  if (onceIn(tape, 3)) {
    if (inConfig) device.readConfig(offset, size);
    else device.read(offset, size);
  } else if (inConfig) device.writeConfig(offset, size, value);
  else device.write(offset, size, value);
}

/** Undoes what was done to a PCI function, as firmware would. */
export function restoreFunction({ registers }: Driver): void {
  if (!(registers instanceof OwnPciRegisters)) return;
  registers.setConfig(pci.PCI_BASE_ADDRESS_0, 4, 0xc000_0000);
  registers.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
  registers.setMessage(0, 0x40);
  registers.setMessage(1, 0x41);
  registers.messages.arrived.length = 0;
}
