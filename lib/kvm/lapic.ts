import { viewOf } from './layout.ts';

// Offsets in the register page: Intel SDM volume 3, table "Local APIC Register Address Map".
export const APIC_ID = 0x20;
export const APIC_SPURIOUS = 0xf0;
export const APIC_LVT_LINT0 = 0x350;
export const APIC_LVT_LINT1 = 0x360;

const SPURIOUS_SOFTWARE_ENABLE = 1 << 8;
const LVT_DELIVERY_MODE = 7 << 8;
const LVT_MASKED = 1 << 16;
const DELIVERY_MODE_NMI = 4 << 8;
const DELIVERY_MODE_EXTINT = 7 << 8;

/**
 * Puts a local APIC into virtual wire mode, as firmware leaves the boot processor's (MultiProcessor Specification 1.4,
 * section 3.6.2.2): enabled, LINT0 takes the PIC's interrupts, LINT1 is NMI. Application processors need none of it:
 * the INIT that starts them masks both.
 *
 * @param page `KVM_GET_LAPIC`'s bytes
 * @returns a copy, for `KVM_SET_LAPIC`
 */
export function virtualWireLapic(page: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(page);
  const view = viewOf(copy);
  change(view, APIC_SPURIOUS, 0, SPURIOUS_SOFTWARE_ENABLE);
  change(view, APIC_LVT_LINT0, LVT_DELIVERY_MODE | LVT_MASKED, DELIVERY_MODE_EXTINT);
  change(view, APIC_LVT_LINT1, LVT_DELIVERY_MODE | LVT_MASKED, DELIVERY_MODE_NMI);
  return copy;
}

function change(view: DataView, register: number, clear: number, set: number): void {
  view.setUint32(register, (view.getUint32(register, true) & ~clear) | set, true);
}
