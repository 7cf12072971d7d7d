/** virtio-vsock, virtio 1.2 section 5.10 (Linux: <linux/virtio_vsock.h>). */

/** Stream sockets are supported. What a device without any feature does too; newer than some of Linux's headers. */
export const VIRTIO_VSOCK_F_STREAM = 0;

/** Socket types. */
export const VIRTIO_VSOCK_TYPE_STREAM = 1;

/** Operations. */
export const VIRTIO_VSOCK_OP_REQUEST = 1;
export const VIRTIO_VSOCK_OP_RESPONSE = 2;
export const VIRTIO_VSOCK_OP_RST = 3;
export const VIRTIO_VSOCK_OP_SHUTDOWN = 4;
export const VIRTIO_VSOCK_OP_RW = 5;
export const VIRTIO_VSOCK_OP_CREDIT_UPDATE = 6;
export const VIRTIO_VSOCK_OP_CREDIT_REQUEST = 7;

/** Flags of VIRTIO_VSOCK_OP_SHUTDOWN: the sender will receive, or send, no more. */
export const VIRTIO_VSOCK_SHUTDOWN_RCV = 1;
export const VIRTIO_VSOCK_SHUTDOWN_SEND = 2;

export const VIRTIO_VSOCK_EVENT_TRANSPORT_RESET = 0;

/** The host's context id (<linux/vm_sockets.h>). */
export const VMADDR_CID_HOST = 2;

/** `struct virtio_vsock_hdr`: offsets in bytes. */
export const VsockHeader = {
  src_cid: 0,
  dst_cid: 8,
  src_port: 16,
  dst_port: 20,
  len: 24,
  type: 28,
  op: 30,
  flags: 32,
  buf_alloc: 36,
  fwd_cnt: 40,
  SIZE: 44,
} as const;

/** `struct virtio_vsock_config`. */
export const VSOCK_CONFIG_SIZE = 8;
/** `struct virtio_vsock_event`: u32 id. */
export const VSOCK_EVENT_SIZE = 4;

/** Queues (section 5.10.2), seen from the driver. */
export const RX_QUEUE = 0;
export const TX_QUEUE = 1;
export const EVENT_QUEUE = 2;
/** Descriptors of each queue: Firecracker's number. */
export const VSOCK_QUEUE_SIZE = 256;

/** Connections at a time: Firecracker's number. */
export const MAX_CONNECTIONS = 1023;
/** What the guest may send on a connection before the host's socket has taken it, in bytes: `buf_alloc`. */
export const CONNECTION_BUFFER_SIZE = 128 * 1024;
/** A guest has this long to answer a request or a shutdown, and a host to take what is left, in milliseconds: Firecracker's number. */
export const CONNECTION_TIMEOUT_MS = 2000;
