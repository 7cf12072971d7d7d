import type { InputSource, OutputSink } from '../../devices/byte-stream.ts';
import { I8042 } from '../../devices/i8042.ts';
import { ALTERNATE_DELAY_PORT, OpenBus, POST_CODE_PORT } from '../../devices/open-bus.ts';
import type { PortBus } from '../../devices/port-bus.ts';
import { Power } from '../../devices/power.ts';
import { Pvpanic } from '../../devices/pvpanic.ts';
import { Rtc } from '../../devices/rtc.ts';
import { Serial } from '../../devices/serial.ts';
import type { Vm } from '../kvm/vm.ts';
import type { NativeArena } from '../loop/arena.ts';
import {
  ACPI_RESET_PORT,
  ACPI_SLEEP_CONTROL_PORT,
  ACPI_SLEEP_STATUS_PORT,
  CMOS_DATA_PORT,
  CMOS_INDEX_PORT,
  COM1_IRQ,
  COM1_PORT,
  COM1_PORT_COUNT,
  I8042_COMMAND_PORT,
  I8042_DATA_PORT,
  I8042_KEYBOARD_IRQ,
  PVPANIC_PORT,
} from '../memory/ports.ts';
import type { Ending } from './ending.ts';
import { IrqLine } from './irq-line.ts';

/** The host's end of the serial port. */
export interface SerialEnds {
  readonly output: OutputSink;
  readonly input: InputSource;
}

/** The devices at fixed ports. */
export interface IsaDevices {
  readonly serial: Serial | undefined;
  readonly i8042: I8042;
  readonly lines: readonly IrqLine[];
}

/**
 * Puts the devices at fixed ports on the bus.
 * @param serialEnds undefined: there is no serial port
 * @param onEnd the guest powered off or asked for a reset
 * @param onPanic the guest's kernel reported a panic, and may have more to print
 */
export function addIsaDevices(
  ports: PortBus,
  vm: Vm,
  arena: NativeArena,
  serialEnds: SerialEnds | undefined,
  onEnd: (ending: Ending) => void,
  onPanic: () => void,
): IsaDevices {
  const lines: IrqLine[] = [];
  const line = (gsi: number): IrqLine => {
    const made = new IrqLine(vm, arena, gsi);
    lines.push(made);
    return made;
  };
  const reset = () => onEnd({ kind: 'reset' });

  let serial: Serial | undefined;
  if (serialEnds !== undefined) {
    serial = new Serial(line(COM1_IRQ), serialEnds.output, serialEnds.input);
    ports.add(COM1_PORT, COM1_PORT_COUNT, serial, 1);
  }
  const i8042 = new I8042(line(I8042_KEYBOARD_IRQ), reset);
  ports.add(I8042_DATA_PORT, 1, i8042.data, 1);
  ports.add(I8042_COMMAND_PORT, 1, i8042.command, 1);
  const power = new Power(() => onEnd({ kind: 'power-off' }), reset);
  ports.add(ACPI_SLEEP_CONTROL_PORT, 1, power.sleepControl, 1);
  ports.add(ACPI_SLEEP_STATUS_PORT, 1, power.sleepStatus, 1);
  ports.add(ACPI_RESET_PORT, 1, power.reset, 1);
  ports.add(PVPANIC_PORT, 1, new Pvpanic((event) => event === 'panicked' && onPanic()), 1);
  // The first date that is taken apart has V8 read the files of the host's time zone, which it may not once mvm is confined.
  new Date().getUTCDate();
  const rtc = new Rtc();
  ports.add(CMOS_INDEX_PORT, 1, rtc.index, 1);
  ports.add(CMOS_DATA_PORT, 1, rtc.data, 1);
  const nobody = new OpenBus();
  ports.add(POST_CODE_PORT, 1, nobody);
  ports.add(ALTERNATE_DELAY_PORT, 1, nobody);
  return { serial, i8042, lines };
}
