import { ConsoleDevice, type ConsoleOptions, type ConsoleSize } from '../../devices/virtio/console/console.ts';

/** The host's end of a virtio console. */
export interface VirtioConsoleEnds extends ConsoleOptions {
  /** Registers the one listener for changes of the terminal's size. */
  onResize(listener: (size: ConsoleSize) => void): void;
}

/** Makes the device, which follows the terminal's size. */
export function createVirtioConsole(ends: VirtioConsoleEnds): ConsoleDevice {
  const device = new ConsoleDevice(ends);
  ends.onResize((size) => device.resize(size));
  return device;
}
