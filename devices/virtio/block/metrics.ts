/** Counters of one block device, by Firecracker's names. */
export class BlockMetrics {
  /** Times that the queue was looked at with something in it. */
  queue_event_count = 0;
  read_count = 0;
  write_count = 0;
  read_bytes = 0;
  write_bytes = 0;
  flush_count = 0;
  discard_count = 0;
  write_zeroes_count = 0;
  /** Requests that make no sense, or lie outside the disk. */
  invalid_reqs_count = 0;
  /** Requests that the host could not carry out. */
  execute_fails = 0;
  /** Times that a queue had to wait because as many requests were in flight as the backend can have. */
  io_engine_throttled_events = 0;
  rate_limiter_throttled_events = 0;
  /** Times that a limiter let the queue go on. */
  rate_limiter_event_count = 0;
  /** Times that the disk behind it was exchanged. */
  update_count = 0;
}
