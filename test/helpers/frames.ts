/** Frames that tests send: just enough of ARP, IPv4 and UDP, written from RFC 826, 791 and 768. */

function mac(text: string): number[] {
  return text.split(':').map((octet) => Number.parseInt(octet, 16));
}

function address(text: string): number[] {
  return text.split('.').map(Number);
}

/** The Internet checksum's sum of 16-bit words, folded but not inverted. */
function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

export interface UdpRoute {
  readonly from: string;
  readonly to: string;
  readonly source: string;
  readonly target: string;
  readonly port: number;
  readonly sourcePort?: number;
  readonly payload: Uint8Array;
  /** Bytes of payload of each datagram that it is to be cut into. */
  readonly segment?: number;
}

/** A UDP datagram whose checksum the device is to complete, and the virtio header that says so. */
export function udpFrame(route: UdpRoute): { bytes: Uint8Array; header: Uint8Array } {
  const { payload, segment } = route;
  const bytes = new Uint8Array(42 + payload.length);
  const view = new DataView(bytes.buffer);
  bytes.set([...mac(route.to), ...mac(route.from), 0x08, 0x00]);
  bytes.set([0x45, 0], 14);
  view.setUint16(16, 28 + payload.length);
  bytes.set([0, 1, 0, 0, 64, 17], 18);
  bytes.set([...address(route.source), ...address(route.target)], 26);
  view.setUint16(24, ~sum(bytes.subarray(14, 34)) & 0xffff);
  view.setUint16(34, route.sourcePort ?? 5000);
  view.setUint16(36, route.port);
  view.setUint16(38, 8 + payload.length);
  // Of the pseudo header only: what is left to add is from csum_start on.
  const pseudo = Uint8Array.of(...bytes.subarray(26, 34), 0, 17, bytes[38]!, bytes[39]!);
  view.setUint16(40, sum(pseudo));
  bytes.set(payload, 42);
  const header = new DataView(new ArrayBuffer(12));
  header.setUint8(0, 1);
  if (segment !== undefined) {
    header.setUint8(1, 5);
    header.setUint16(2, 42, true);
    header.setUint16(4, segment, true);
  }
  header.setUint16(6, 34, true);
  header.setUint16(8, 6, true);
  return { bytes, header: new Uint8Array(header.buffer) };
}

/** What answers an ARP request: that `hardware` is who was asked for. */
export function arpReply(request: Uint8Array, hardware: string): Uint8Array {
  const reply = new Uint8Array(42);
  const own = mac(hardware);
  reply.set([...request.subarray(6, 12), ...own, 0x08, 0x06]);
  reply.set(request.subarray(14, 20), 14);
  reply.set([0, 2, ...own, ...request.subarray(38, 42), ...request.subarray(22, 32)], 20);
  return reply;
}

/** A datagram of `udpFrame` with its checksum, for a network that completes none. */
export function completed({ bytes }: { bytes: Uint8Array }): Uint8Array {
  const whole = bytes.slice();
  new DataView(whole.buffer).setUint16(40, ~sum(bytes.subarray(34)) & 0xffff);
  return whole;
}

/** Whether a UDP datagram over IPv4 without options has the checksum that it should have. */
export function hasUdpChecksum(frame: Uint8Array): boolean {
  const length = (frame[38]! << 8) | frame[39]!;
  const pseudo = [...frame.subarray(26, 34), 0, 17, frame[38]!, frame[39]!];
  return sum(Uint8Array.of(...pseudo, ...frame.subarray(34, 34 + length))) === 0xffff;
}
