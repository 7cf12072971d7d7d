/** virtio-blk, virtio 1.2 section 5.2 (Linux: <linux/virtio_blk.h>). */

export const VIRTIO_BLK_F_SEG_MAX = 2;
export const VIRTIO_BLK_F_RO = 5;
export const VIRTIO_BLK_F_BLK_SIZE = 6;
export const VIRTIO_BLK_F_FLUSH = 9;
export const VIRTIO_BLK_F_DISCARD = 13;
export const VIRTIO_BLK_F_WRITE_ZEROES = 14;

/** Request types. */
export const VIRTIO_BLK_T_IN = 0;
export const VIRTIO_BLK_T_OUT = 1;
export const VIRTIO_BLK_T_FLUSH = 4;
export const VIRTIO_BLK_T_GET_ID = 8;
export const VIRTIO_BLK_T_DISCARD = 11;
export const VIRTIO_BLK_T_WRITE_ZEROES = 13;

/** Status byte. */
export const VIRTIO_BLK_S_OK = 0;
export const VIRTIO_BLK_S_IOERR = 1;
export const VIRTIO_BLK_S_UNSUPP = 2;

/** Flag of a `virtio_blk_discard_write_zeroes`. */
export const VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1;

/** Bytes of what VIRTIO_BLK_T_GET_ID gives. */
export const VIRTIO_BLK_ID_BYTES = 20;

/** The unit of all sector numbers and of the capacity, in bytes, whatever `blk_size` says. */
export const SECTOR_SIZE = 512;
/** `struct virtio_blk_outhdr`: u32 type, u32 reserved, u64 sector. */
export const REQUEST_HEADER_SIZE = 16;
/** `struct virtio_blk_discard_write_zeroes`: u64 sector, u32 num_sectors, u32 flags. */
export const RANGE_SIZE = 16;

/** `struct virtio_blk_config`: offsets in bytes. */
export const BlockConfig = {
  capacity: 0,
  seg_max: 12,
  blk_size: 20,
  max_discard_sectors: 36,
  max_discard_seg: 40,
  discard_sector_alignment: 44,
  max_write_zeroes_sectors: 48,
  max_write_zeroes_seg: 52,
  write_zeroes_may_unmap: 56,
  SIZE: 60,
} as const;
