import type { PciInterrupt } from './mptable.ts';

/** A virtio-mmio window (virtio 1.2 §4.2). */
export interface VirtioMmioDevice {
  /** Guest-physical address of the window. */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  readonly gsi: number;
}

/** What a PCI host bridge offers on bus 0; its windows are those of lib/memory/layout.ts. */
export interface PciHostBridge {
  /** Pins that devices without MSI use. */
  readonly interrupts: readonly PciInterrupt[];
  /** Whether ports exist too: the configuration mechanism at 0xcf8, and I/O BARs. */
  readonly hasIoPorts: boolean;
}

/** Where virtio devices are found: what a transport has to have told. */
export interface VirtioPlaces {
  readonly virtioMmio: readonly VirtioMmioDevice[];
  readonly pci?: PciHostBridge | undefined;
}

/** What is in the machine and cannot be probed: the tables tell the guest. */
export interface MachineDevices extends VirtioPlaces {
  readonly serial: boolean;
  readonly i8042: boolean;
  readonly pvpanic: boolean;
  /** The CMOS real-time clock. */
  readonly rtc: boolean;
  /** Whether the DSDT names the CPUs, as ACPI asks (default: yes). Linux runs without, and has less to interpret. */
  readonly acpiProcessors?: boolean | undefined;
}
