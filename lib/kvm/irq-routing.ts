import { IOAPIC_PIN_COUNT } from '../memory/ports.ts';
import type { Input } from './layout.ts';
import {
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_IRQ_ROUTING_MSI,
  KVM_IRQCHIP_IOAPIC,
  KVM_IRQCHIP_PIC_MASTER,
  KVM_IRQCHIP_PIC_SLAVE,
  type kvm_irq_routing_entry,
} from './structs.ts';

export type IrqRoute = Input<typeof kvm_irq_routing_entry>;

const PIC_PIN_COUNT = 8;

/**
 * The routes that KVM has by itself, to be given again with every `KVM_SET_GSI_ROUTING` (it replaces the whole table): GSI
 * n leads to pin n of the IOAPIC, and below 16 to the PIC too.
 */
export function wiredRoutes(): IrqRoute[] {
  const routes: IrqRoute[] = [];
  for (let gsi = 0; gsi < IOAPIC_PIN_COUNT; gsi++) {
    if (gsi < 2 * PIC_PIN_COUNT) {
      const irqchip = gsi < PIC_PIN_COUNT ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
      routes.push(irqchipRoute(gsi, irqchip, gsi % PIC_PIN_COUNT));
    }
    routes.push(irqchipRoute(gsi, KVM_IRQCHIP_IOAPIC, gsi));
  }
  return routes;
}

function irqchipRoute(gsi: number, irqchip: number, pin: number): IrqRoute {
  return { gsi, type: KVM_IRQ_ROUTING_IRQCHIP, u: { irqchip: { irqchip, pin } } };
}

/** A GSI (from `IOAPIC_PIN_COUNT` on) that is a message-signalled interrupt: what the guest wrote into the MSI-X table. */
export function msiRoute(gsi: number, addressLow: number, addressHigh: number, data: number): IrqRoute {
  return {
    gsi,
    type: KVM_IRQ_ROUTING_MSI,
    u: { msi: { address_lo: addressLow, address_hi: addressHigh, data } },
  };
}
