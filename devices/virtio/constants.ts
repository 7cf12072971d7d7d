/** Names and numbers of virtio 1.2 that every transport and device shares (Linux: <linux/virtio_config.h>, <linux/virtio_ring.h>). */

/** Device status, virtio 1.2 section 2.1. */
export const VIRTIO_CONFIG_S_ACKNOWLEDGE = 1;
export const VIRTIO_CONFIG_S_DRIVER = 2;
export const VIRTIO_CONFIG_S_DRIVER_OK = 4;
export const VIRTIO_CONFIG_S_FEATURES_OK = 8;
export const VIRTIO_CONFIG_S_NEEDS_RESET = 0x40;
export const VIRTIO_CONFIG_S_FAILED = 0x80;

/** Bits of the features that belong to no device type, section 6. */
export const VIRTIO_RING_F_INDIRECT_DESC = 28;
export const VIRTIO_RING_F_EVENT_IDX = 29;
export const VIRTIO_F_VERSION_1 = 32;
export const VIRTIO_F_RING_RESET = 40;

/** Descriptor flags, section 2.7.5. */
export const VRING_DESC_F_NEXT = 1;
export const VRING_DESC_F_WRITE = 2;
export const VRING_DESC_F_INDIRECT = 4;
/** `avail->flags`: the driver wants no interrupts, section 2.7.6. */
export const VRING_AVAIL_F_NO_INTERRUPT = 1;
/** `used->flags`: the device wants no notifications, section 2.7.8. */
export const VRING_USED_F_NO_NOTIFY = 1;

/** Alignment of the three parts of a split virtqueue in guest-physical memory, in bytes, section 2.7. */
export const VRING_DESC_ALIGN_SIZE = 16;
export const VRING_AVAIL_ALIGN_SIZE = 2;
export const VRING_USED_ALIGN_SIZE = 4;
/** Bytes of one descriptor. */
export const VRING_DESC_SIZE = 16;

/** Device types, section 5. */
export const VIRTIO_ID_NET = 1;
export const VIRTIO_ID_BLOCK = 2;
export const VIRTIO_ID_CONSOLE = 3;
export const VIRTIO_ID_RNG = 4;
export const VIRTIO_ID_BALLOON = 5;
export const VIRTIO_ID_VSOCK = 19;
export const VIRTIO_ID_MEM = 24;
export const VIRTIO_ID_PMEM = 27;

/** The set with one feature bit in it. */
/* @__NO_SIDE_EFFECTS__ */
export function feature(bit: number): bigint {
  return 1n << BigInt(bit);
}
