/** Counters of the balloon device, by Firecracker's names. */
export class BalloonMetrics {
  /** Times that the queue of pages to give up was looked at with something in it. */
  inflate_count = 0;
  /** Times that the queue of pages to take back was looked at with something in it. */
  deflate_count = 0;
  stats_updates_count = 0;
  /** Updates with something in them that is no statistic. */
  stats_update_fails = 0;
  /** Pages that are not RAM, or that the host did not take. */
  event_fails = 0;
  free_page_report_count = 0;
  /** Bytes. */
  free_page_report_freed = 0;
  free_page_report_fails = 0;
  free_page_hint_count = 0;
  /** Bytes. */
  free_page_hint_freed = 0;
  free_page_hint_fails = 0;
}
