import { feature } from '../constants.ts';
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_HDR_F_DATA_VALID,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from './constants.ts';

/** What headers of one direction may ask for, from what was negotiated. */
export interface Offloads {
  readonly checksum: boolean;
  /** Bit n: `gso_type` n is allowed. */
  readonly segmentation: number;
  readonly ecn: boolean;
}

export const NO_OFFLOADS: Offloads = { checksum: false, segmentation: 0, ecn: false };

function offloads(features: bigint, checksum: number, ecn: number, types: readonly [number, number][]): Offloads {
  const has = (bit: number): boolean => (features & feature(bit)) !== 0n;
  // Section 5.1.3.1: segmentation needs checksums.
  if (!has(checksum)) return NO_OFFLOADS;
  let segmentation = 0;
  for (const [bit, type] of types) if (has(bit)) segmentation |= 1 << type;
  return { checksum: true, segmentation, ecn: has(ecn) };
}

/** What the driver may ask of the device. */
export function transmitOffloads(features: bigint): Offloads {
  return offloads(features, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_ECN, [
    [VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_HDR_GSO_TCPV4],
    [VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_HDR_GSO_TCPV6],
    [VIRTIO_NET_F_HOST_USO, VIRTIO_NET_HDR_GSO_UDP_L4],
  ]);
}

/** What the device may leave to the driver. */
export function receiveOffloads(features: bigint): Offloads {
  return offloads(features, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, [
    [VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_HDR_GSO_TCPV4],
    [VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_HDR_GSO_TCPV6],
    [VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_HDR_GSO_UDP_L4],
    [VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_HDR_GSO_UDP_L4],
  ]);
}

/** Whether a `gso_type` was negotiated. */
function segmentationAllowed(type: number, allowed: Offloads): boolean {
  if ((type & VIRTIO_NET_HDR_GSO_ECN) !== 0 && !allowed.ecn) return false;
  const plain = type & ~VIRTIO_NET_HDR_GSO_ECN;
  return plain < 8 && ((allowed.segmentation >> plain) & 1) !== 0;
}

/**
 * Checks a header that the guest wrote, given as its three little-endian words, and puts what is left of it into `target`
 * (section 5.1.6.2.2: flags that a driver must not set are ignored).
 * @param length bytes of the frame behind it
 * @returns false where it asks for what was not negotiated, or contradicts itself
 */
export function checkTransmitHeader(
  first: number,
  second: number,
  third: number,
  length: number,
  allowed: Offloads,
  target: DataView,
  at: number,
): boolean {
  const flags = first & VIRTIO_NET_HDR_F_NEEDS_CSUM;
  const type = (first >>> 8) & 0xff;
  const headerLength = first >>> 16;
  let checksum = 0;
  let checksumOffset = 0;
  if (flags !== 0) {
    checksum = second >>> 16;
    checksumOffset = third & 0xffff;
    if (!allowed.checksum || checksum + checksumOffset + 2 > length) return false;
  }
  let segmentSize = 0;
  if (type !== VIRTIO_NET_HDR_GSO_NONE) {
    segmentSize = second & 0xffff;
    if (flags === 0 || segmentSize === 0 || !segmentationAllowed(type, allowed)) return false;
  }
  // A hint (section 5.1.6.2): one that cannot be right is no hint.
  const hint = headerLength <= length ? headerLength : 0;
  target.setUint32(at, flags | (type << 8) | (hint << 16), true);
  target.setUint32(at + 4, segmentSize | (checksum << 16), true);
  target.setUint32(at + 8, checksumOffset, true);
  return true;
}

/**
 * Makes a header of the host one that the driver may see (section 5.1.6.4.1): without flags that it did not ask for.
 * @returns false where the frame is one that the driver cannot take: it came before the host knew
 */
export function checkReceiveHeader(header: DataView, at: number, allowed: Offloads): boolean {
  const known = allowed.checksum ? VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID : 0;
  const flags = header.getUint8(at);
  const type = header.getUint8(at + 1);
  if ((flags & VIRTIO_NET_HDR_F_NEEDS_CSUM & ~known) !== 0) return false;
  if (type !== VIRTIO_NET_HDR_GSO_NONE && !segmentationAllowed(type, allowed)) return false;
  header.setUint8(at, flags & known);
  return true;
}
