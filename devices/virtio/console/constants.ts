/** virtio-console, virtio 1.2 section 5.3 (Linux: <linux/virtio_console.h>). */

export const VIRTIO_CONSOLE_F_SIZE = 0;
export const VIRTIO_CONSOLE_F_EMERG_WRITE = 2;

/** `struct virtio_console_config`: offsets in bytes. */
export const ConsoleConfig = {
  cols: 0,
  rows: 2,
  max_nr_ports: 4,
  emerg_wr: 8,
  SIZE: 12,
} as const;

/** Queues of port 0, section 5.3.2. */
export const RECEIVE_QUEUE = 0;
export const TRANSMIT_QUEUE = 1;

/** Descriptors of each queue. Linux uses a page for each buffer to read into, so not too many. */
export const CONSOLE_QUEUE_SIZE = 64;
