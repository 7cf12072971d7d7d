/** virtio-net, virtio 1.2 section 5.1 (Linux: <linux/virtio_net.h>). */

export const VIRTIO_NET_F_CSUM = 0;
export const VIRTIO_NET_F_GUEST_CSUM = 1;
export const VIRTIO_NET_F_MTU = 3;
export const VIRTIO_NET_F_MAC = 5;
export const VIRTIO_NET_F_GUEST_TSO4 = 7;
export const VIRTIO_NET_F_GUEST_TSO6 = 8;
export const VIRTIO_NET_F_GUEST_ECN = 9;
export const VIRTIO_NET_F_HOST_TSO4 = 11;
export const VIRTIO_NET_F_HOST_TSO6 = 12;
export const VIRTIO_NET_F_HOST_ECN = 13;
export const VIRTIO_NET_F_MRG_RXBUF = 15;
export const VIRTIO_NET_F_STATUS = 16;
export const VIRTIO_NET_F_GUEST_USO4 = 54;
export const VIRTIO_NET_F_GUEST_USO6 = 55;
export const VIRTIO_NET_F_HOST_USO = 56;

/** Bits of the configuration's `status`. */
export const VIRTIO_NET_S_LINK_UP = 1;

/** Bits of a header's `flags`. */
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;

/** A header's `gso_type`. */
export const VIRTIO_NET_HDR_GSO_NONE = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
/** Added to a TCP type. */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;

/**
 * Bytes of a `struct virtio_net_hdr_v1`: u8 flags, u8 gso_type, u16 hdr_len, u16 gso_size, u16 csum_start, u16 csum_offset,
 * u16 num_buffers.
 */
export const HEADER_SIZE = 12;

/** `struct virtio_net_config`: offsets in bytes. */
export const NetConfig = {
  mac: 0,
  status: 6,
  max_virtqueue_pairs: 8,
  mtu: 10,
  SIZE: 12,
} as const;

/** Queues, section 5.1.2. */
export const RECEIVE_QUEUE = 0;
export const TRANSMIT_QUEUE = 1;

/** Descriptors of each queue: Firecracker's number. */
export const NET_QUEUE_SIZE = 256;

/** Bytes of an Ethernet header: a frame is no shorter. */
export const ETH_HLEN = 14;
/** Bytes of the longest frame: an Ethernet header and the longest IP packet (section 5.1.6.3.1 adds the 12 bytes of the header). */
export const MAX_FRAME_SIZE = 65550;
