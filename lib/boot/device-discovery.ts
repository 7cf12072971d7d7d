import type { GuestMemory } from '../memory/guest-memory.ts';
import type { LoadedSection } from './elf-section.ts';

/*
 * How a kernel finds its virtio-mmio devices: by ACPI, or by parameters on its command line. Telling it both ways makes a kernel that
 * knows both complain of each device, and one that knows neither way but the other miss them; so the kernel is asked. Its driver's
 * strings tell (drivers/virtio/virtio_mmio.c): the parameter's name is there with `CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES`, the ACPI id with
 * `CONFIG_ACPI`. Where the driver is a module neither is, and distributions' kernels, which have it so, have ACPI.
 */

const PARAMETER_NAME = Buffer.from('virtio_mmio.device\0', 'latin1');
const ACPI_ID = Buffer.from('LNRO0005\0', 'latin1');

/**
 * Whether a Linux in guest memory looks for virtio-mmio devices on its command line only.
 * @param rodata its read-only data; `undefined` where that is not known
 */
export function needsDeviceParameters(memory: GuestMemory, rodata: LoadedSection | undefined): boolean {
  if (rodata === undefined) return false;
  const { physicalAddress, size } = rodata;
  const bytes = Buffer.from(memory.buffer, memory.offsetOf(physicalAddress, size), size);
  return bytes.includes(PARAMETER_NAME) && !bytes.includes(ACPI_ID);
}
