import { array, at, bytes, flexible, s32, struct, u8, u32, u64, union } from '../layout.ts';

/** `KVM_IRQ_LINE`, `KVM_IRQ_LINE_STATUS`: sets a GSI's level. */
export const kvm_irq_level = struct('kvm_irq_level', { irq: u32, status: at(0, s32), level: u32 });

/** One 8259A, as `KVM_GET_IRQCHIP` shows it. */
export const kvm_pic_state = struct('kvm_pic_state', {
  last_irr: u8,
  irr: u8,
  imr: u8,
  isr: u8,
  priority_add: u8,
  irq_base: u8,
  read_reg_select: u8,
  poll: u8,
  special_mask: u8,
  init_state: u8,
  auto_eoi: u8,
  rotate_on_auto_eoi: u8,
  special_fully_nested_mode: u8,
  init4: u8,
  elcr: u8,
  elcr_mask: u8,
});

export const KVM_IOAPIC_NUM_PINS = 24;
/** The IOAPIC; `redirtbl` holds the redirection entries as the guest programs them. */
export const kvm_ioapic_state = struct('kvm_ioapic_state', {
  base_address: u64,
  ioregsel: u32,
  id: u32,
  irr: u32,
  pad: u32,
  redirtbl: array(u64, KVM_IOAPIC_NUM_PINS),
});

/** `KVM_GET_IRQCHIP`, `KVM_SET_IRQCHIP`. */
export const kvm_irqchip = struct('kvm_irqchip', {
  chip_id: u32,
  pad: u32,
  chip: union({ dummy: bytes(512), pic: kvm_pic_state, ioapic: kvm_ioapic_state }),
});
export const KVM_IRQCHIP_PIC_MASTER = 0;
export const KVM_IRQCHIP_PIC_SLAVE = 1;
export const KVM_IRQCHIP_IOAPIC = 2;
export const KVM_NR_IRQCHIPS = 3;

const irqRoutingIrqchip = struct('kvm_irq_routing_irqchip', { irqchip: u32, pin: u32 });
const irqRoutingMsi = struct('kvm_irq_routing_msi', {
  address_lo: u32,
  address_hi: u32,
  data: u32,
  pad: u32,
  devid: at(12, u32),
});
/** Never used on x86; its 64-bit members give the union its alignment. */
const irqRoutingS390Adapter = struct('kvm_irq_routing_s390_adapter', {
  ind_addr: u64,
  summary_addr: u64,
  ind_offset: u64,
  summary_offset: u32,
  adapter_id: u32,
});

/** Where a GSI leads: a pin of a chip, or an MSI. */
export const kvm_irq_routing_entry = struct('kvm_irq_routing_entry', {
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  u: union({ irqchip: irqRoutingIrqchip, msi: irqRoutingMsi, adapter: irqRoutingS390Adapter, pad: array(u32, 8) }),
});
export const KVM_IRQ_ROUTING_IRQCHIP = 1;
export const KVM_IRQ_ROUTING_MSI = 2;

/** `KVM_SET_GSI_ROUTING`: `nr` × `kvm_irq_routing_entry`; replaces the whole table. */
export const kvm_irq_routing = struct('kvm_irq_routing', {
  nr: u32,
  flags: u32,
  entries: flexible(kvm_irq_routing_entry),
});

/** `KVM_IRQFD`: an eventfd that raises a GSI. */
export const kvm_irqfd = struct('kvm_irqfd', { fd: u32, gsi: u32, flags: u32, resamplefd: u32, pad: bytes(16) });
export const KVM_IRQFD_FLAG_DEASSIGN = 1;
export const KVM_IRQFD_FLAG_RESAMPLE = 2;

/** `KVM_IOEVENTFD`: an eventfd that a write of the guest signals. `len` 0 ignores the length. */
export const kvm_ioeventfd = struct('kvm_ioeventfd', {
  datamatch: u64,
  addr: u64,
  len: u32,
  fd: s32,
  flags: u32,
  pad: bytes(36),
});
export const KVM_IOEVENTFD_FLAG_DATAMATCH = 1;
export const KVM_IOEVENTFD_FLAG_PIO = 2;
export const KVM_IOEVENTFD_FLAG_DEASSIGN = 4;

/** `KVM_SIGNAL_MSI`. */
export const kvm_msi = struct('kvm_msi', {
  address_lo: u32,
  address_hi: u32,
  data: u32,
  flags: u32,
  devid: u32,
  pad: bytes(12),
});
