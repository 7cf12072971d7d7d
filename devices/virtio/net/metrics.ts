/** Counters of one network device, by Firecracker's names. */
export class NetMetrics {
  /** Times that a queue was looked at with something in it. */
  rx_queue_event_count = 0;
  tx_queue_event_count = 0;
  /** Times that the backend was asked for frames. */
  rx_tap_event_count = 0;
  rx_bytes_count = 0;
  rx_packets_count = 0;
  /** Frames that were shown to the guest, as `rx_packets_count`: Firecracker counts system calls here. */
  rx_count = 0;
  /** Frames that came and could not be given to the guest. */
  rx_fails = 0;
  /** Times that frames waited for the guest's buffers. */
  no_rx_avail_buffer = 0;
  rx_rate_limiter_throttled = 0;
  /** Times that the limiter let the queue go on. */
  rx_event_rate_limiter_count = 0;
  tap_read_fails = 0;
  tx_bytes_count = 0;
  tx_packets_count = 0;
  tx_count = 0;
  /** Frames that the host did not take. */
  tx_fails = 0;
  tap_write_fails = 0;
  /** Frames that make no sense, or ask for what was not negotiated. */
  tx_malformed_frames = 0;
  /** Frames whose source is not the MAC address that the guest was given. They are sent all the same. */
  tx_spoofed_mac_count = 0;
  tx_rate_limiter_throttled = 0;
  tx_rate_limiter_event_count = 0;
  /** Times that frames waited for the host to take more. */
  tx_remaining_reqs_count = 0;
}
