import { rootParameters } from '../block/root.ts';
import type { GuestImage } from '../boot/boot.ts';
import type { VirtioPlaces } from '../boot/devices.ts';
import type { VmConfig } from '../config/types.ts';
import { isPvm } from '../kvm/flavour.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { pvmParameters } from './pvm-parameters.ts';

/**
 * What `mvm run` loads, and `mvm check` tries to.
 * @param virtio where the virtio devices are
 */
export function guestImage(
  { boot, machine, serial, drives }: VmConfig,
  memory: GuestMemory,
  virtio: VirtioPlaces = { virtioMmio: [] },
): GuestImage {
  const root = rootParameters(drives);
  return {
    memory,
    kernel: { path: boot.kernelPath },
    initrd: boot.initrdPath === undefined ? undefined : { path: boot.initrdPath },
    bootArgs: boot.cmdline,
    linuxParameters: [...(root === undefined ? [] : [root]), ...(isPvm() ? pvmParameters(boot.cmdline) : [])],
    vcpuCount: machine.vcpuCount,
    devices: { serial: serial.kind !== 'none', i8042: true, pvpanic: true, rtc: true, ...virtio },
    acpi: true,
  };
}
