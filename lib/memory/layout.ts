/**
 * The guest-physical address map, in bytes. RAM fills from 0 up to the hole, and goes on above 4 GiB.
 *
 * The hole holds everything that is not RAM: virtio-mmio windows, PCI BARs and ECAM, IOAPIC, HPET space, local APICs,
 * and the pages that Intel's KVM wants for itself (TSS and identity map).
 */
export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** Where the hole below 4 GiB begins; RAM beyond this is placed from 4 GiB on. */
export const MMIO_HOLE_START = 3 * GIB;
export const MMIO_HOLE_END = 4 * GIB;

/** PCI Express enhanced configuration space: one bus, 32 devices × 8 functions × 4 KiB. */
export const PCI_ECAM_START = 0xe000_0000;
export const PCI_ECAM_SIZE = MIB;
/** 32-bit PCI memory window, for BARs. */
export const PCI_MMIO_START = 0xc000_0000;
export const PCI_MMIO_SIZE = 0x1000_0000;
/** virtio-mmio windows, one 4 KiB page a device. */
export const VIRTIO_MMIO_START = 0xd000_0000;
export const VIRTIO_MMIO_STRIDE = 4 * KIB;

export const IOAPIC_BASE = 0xfec0_0000;
export const LOCAL_APIC_BASE = 0xfee0_0000;
/** `KVM_SET_IDENTITY_MAP_ADDR`: one page below the TSS (Intel hosts without unrestricted guest). */
export const KVM_IDENTITY_MAP_ADDRESS = 0xfffb_c000;
/** `KVM_SET_TSS_ADDR`: three pages. */
export const KVM_TSS_ADDRESS = 0xfffb_d000;

/** Extended BIOS data area: the end of conventional memory. The MP floating pointer and the ACPI RSDP lie below 1 MiB. */
export const EBDA_START = 0x9_fc00;
/** Video RAM on a PC. Backed by RAM here, but outside the guest's map of usable memory. */
export const VIDEO_RAM_START = 0xa_0000;
export const BIOS_ROM_START = 0xe_0000;
export const HIGH_RAM_START = MIB;
