/** Counters of the vsock device, by Firecracker's names. `rx` is what the guest receives, `tx` what it sends. */
export class VsockMetrics {
  /** Times that the guest gave buffers when there was something for it. */
  rx_queue_event_count = 0;
  /** Times that the queue of the guest's packets was looked at with something in it. */
  tx_queue_event_count = 0;
  rx_packets_count = 0;
  tx_packets_count = 0;
  /** Bytes of data, without headers. */
  rx_bytes_count = 0;
  /** Bytes of data that the host's sockets have taken. */
  tx_bytes_count = 0;
  conns_added = 0;
  /** Connections that were ended for an error or a timeout. */
  conns_killed = 0;
  conns_removed = 0;
  /** Sockets that could not be read. */
  rx_read_fails = 0;
  /** Sockets that could not be written. */
  tx_write_fails = 0;
}
