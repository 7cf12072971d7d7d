/** Counters of the entropy device, by Firecracker's names. */
export class EntropyMetrics {
  /** Requests. */
  entropy_event_count = 0;
  /** Requests that were not answered in full. */
  entropy_event_fails = 0;
  /** Bytes given to the guest. */
  entropy_bytes = 0;
  /** Times that the host had no random bytes. */
  host_rng_fails = 0;
  entropy_rate_limiter_throttled = 0;
  /** Times that a limiter let the queue go on. */
  rate_limiter_event_count = 0;
}
