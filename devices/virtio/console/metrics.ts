/** Counters of the console device, by names like those of Firecracker's other devices. */
export class ConsoleMetrics {
  /** Times that a queue was looked at with something in it. */
  rx_queue_event_count = 0;
  tx_queue_event_count = 0;
  /** Bytes that the guest was given, and that it printed. */
  rx_bytes_count = 0;
  tx_bytes_count = 0;
  /** Times that the guest had to wait because the host takes no more. */
  tx_congested_count = 0;
  /** Bytes printed through the register for emergencies. */
  emergency_write_count = 0;
  resize_count = 0;
}
