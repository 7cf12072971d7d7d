/** virtio-balloon, virtio 1.2 section 5.5 (Linux: <linux/virtio_balloon.h>). */

export const VIRTIO_BALLOON_F_STATS_VQ = 1;
export const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 2;
export const VIRTIO_BALLOON_F_FREE_PAGE_HINT = 3;
/** VIRTIO_BALLOON_F_PAGE_REPORTING in the specification. */
export const VIRTIO_BALLOON_F_REPORTING = 5;

/** Page frame numbers count pages of 4 KiB, whatever pages the guest has. */
export const VIRTIO_BALLOON_PFN_SHIFT = 12;

/** `free_page_hint_cmd_id`: no hints are wanted; the driver may use again what it hinted at. Others are the numbers of a run. */
export const VIRTIO_BALLOON_CMD_ID_STOP = 0;
export const VIRTIO_BALLOON_CMD_ID_DONE = 1;

/** `struct virtio_balloon_config`: offsets in bytes. `poison_val` is left out, for its feature is. */
export const BalloonConfigSpace = {
  num_pages: 0,
  actual: 4,
  free_page_hint_cmd_id: 8,
  SIZE: 12,
} as const;

/** `struct virtio_balloon_stat`: u16 tag, u64 value, packed. */
export const STAT_SIZE = 10;
