/**
 * The ISA port map and the interrupts that go with it. Boot tables (lib/boot/acpi) tell the guest these numbers, devices answer at
 * them; both read them here.
 *
 * Interrupts are GSIs, the same as ISA IRQ numbers and IOAPIC pins: KVM's default routing is the identity.
 */

/** 16550A: 8 ports. */
export const COM1_PORT = 0x3f8;
export const COM1_PORT_COUNT = 8;
export const COM1_IRQ = 4;

/** i8042: data at 0x60, status and command at 0x64. */
export const I8042_DATA_PORT = 0x60;
export const I8042_COMMAND_PORT = 0x64;
export const I8042_KEYBOARD_IRQ = 1;
export const I8042_AUX_IRQ = 12;

/** MC146818 index and data. Where there is none, the FADT says so (`IAPC_BOOT_ARCH`, CMOS RTC Not Present). */
export const CMOS_INDEX_PORT = 0x70;
export const CMOS_DATA_PORT = 0x71;
/** The index of the century in CMOS RAM: the FADT's `CENTURY`. */
export const CMOS_CENTURY_INDEX = 0x32;

/** pvpanic's one byte: bits of `PVPANIC_*` (Linux: include/uapi/misc/pvpanic.h). A read gives the bits that are supported. */
export const PVPANIC_PORT = 0x505;
export const PVPANIC_PANICKED = 1 << 0;
export const PVPANIC_CRASH_LOADED = 1 << 1;

/** ACPI 6.5 §4.8.3.7, hardware-reduced sleep control register: one byte, bits below. */
export const ACPI_SLEEP_CONTROL_PORT = 0x600;
/** `SLP_TYPx`: bits 4:2 say which state, bit 5 (`SLP_EN`) enters it. */
export const ACPI_SLEEP_CONTROL_SLP_TYP_SHIFT = 2;
export const ACPI_SLEEP_CONTROL_SLP_TYP_MASK = 0x7 << ACPI_SLEEP_CONTROL_SLP_TYP_SHIFT;
export const ACPI_SLEEP_CONTROL_SLP_EN = 1 << 5;
/** The `SLP_TYP` that our `\_S5` names: power off. */
export const ACPI_SLP_TYP_S5 = 5;
/** The byte that powers the machine off when it is written to `ACPI_SLEEP_CONTROL_PORT`; other bits are reserved. */
export const ACPI_POWER_OFF_VALUE = (ACPI_SLP_TYP_S5 << ACPI_SLEEP_CONTROL_SLP_TYP_SHIFT) | ACPI_SLEEP_CONTROL_SLP_EN;

/** ACPI 6.5 §4.8.3.7, sleep status register: bit 7 is `WAK_STS`, written with 1 to clear; reads 0 here, since nothing wakes us. */
export const ACPI_SLEEP_STATUS_PORT = 0x601;
export const ACPI_SLEEP_STATUS_WAK_STS = 1 << 7;

/** ACPI 6.5 §4.8.3.6, the FADT's `RESET_REG`: this byte written to this port resets the machine. */
export const ACPI_RESET_PORT = 0x602;
export const ACPI_RESET_VALUE = 0x06;

/** The `PCI_CONFIG_ADDRESS` and `PCI_CONFIG_DATA` ports, 4 bytes each, of a PCI host bridge. */
export const PCI_CONFIG_ADDRESS_PORT = 0xcf8;
export const PCI_CONFIG_DATA_PORT = 0xcfc;

/** GSIs of the in-kernel IOAPIC: 0 to 23. */
export const IOAPIC_PIN_COUNT = 24;

/** GSIs for virtio-mmio windows, in the order in which they are given out: those that no ISA device here has. */
export const VIRTIO_MMIO_GSIS = [5, 6, 7, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as const;
