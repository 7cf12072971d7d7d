import {
  ACPI_RESET_VALUE,
  ACPI_SLEEP_CONTROL_SLP_EN,
  ACPI_SLEEP_CONTROL_SLP_TYP_MASK,
  ACPI_SLEEP_CONTROL_SLP_TYP_SHIFT,
  ACPI_SLP_TYP_S5,
} from '../lib/memory/ports.ts';
import type { BusDevice } from './bus.ts';

/**
 * ACPI's registers of a hardware-reduced machine for sleeping and for reset (ACPI 6.5, sections 4.8.3.7 and 4.8.3.6): one byte each,
 * each a bus device of its own. Of the sleep states there is only S5.
 */
export class Power {
  /** Sleep control register. Reads 0: `SLP_EN` is write-only, and the rest means nothing without it. */
  readonly sleepControl: BusDevice;
  /** Sleep status register. `WAK_STS` is never set, since nothing sleeps but for good. */
  readonly sleepStatus: BusDevice;
  /** Reset register: reacts to the FADT's `RESET_VALUE` alone. */
  readonly reset: BusDevice;

  /**
   * @param onPowerOff the guest entered S5
   * @param onReset the guest asked for a reset
   */
  constructor(onPowerOff: () => void, onReset: () => void) {
    this.sleepControl = {
      read: () => 0,
      write: (_offset, _size, value) => {
        if ((value & ACPI_SLEEP_CONTROL_SLP_EN) === 0) return;
        const type = (value & ACPI_SLEEP_CONTROL_SLP_TYP_MASK) >> ACPI_SLEEP_CONTROL_SLP_TYP_SHIFT;
        if (type === ACPI_SLP_TYP_S5) onPowerOff();
      },
    };
    this.sleepStatus = { read: () => 0, write: () => {} };
    this.reset = {
      read: () => 0,
      write: (_offset, _size, value) => {
        if (value === ACPI_RESET_VALUE) onReset();
      },
    };
  }
}
