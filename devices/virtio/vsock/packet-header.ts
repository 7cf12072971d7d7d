import type { DescriptorChain } from '../chain.ts';
import { VIRTIO_VSOCK_OP_RW, VsockHeader } from './constants.ts';

/** The header of a packet from the guest, read once. */
export class PacketHeader {
  sourceCid = 0;
  destinationCid = 0;
  sourcePort = 0;
  destinationPort = 0;
  length = 0;
  type = 0;
  operation = 0;
  flags = 0;
  bufferSize = 0;
  forwarded = 0;

  /**
   * Takes the header from a chain. Of a data packet, what is left of the chain's readable buffers is the data, no more and no less.
   * @returns false where there is no whole header, or less data than it says
   */
  read(chain: DescriptorChain): boolean {
    if (chain.readableLength < VsockHeader.SIZE) return false;
    this.sourceCid = chain.takeNumber64();
    this.destinationCid = chain.takeNumber64();
    this.sourcePort = chain.takeU32();
    this.destinationPort = chain.takeU32();
    this.length = chain.takeU32();
    const typeAndOperation = chain.takeU32();
    this.type = typeAndOperation & 0xffff;
    this.operation = typeAndOperation >>> 16;
    this.flags = chain.takeU32();
    this.bufferSize = chain.takeU32();
    this.forwarded = chain.takeU32();
    if (this.operation !== VIRTIO_VSOCK_OP_RW) return true;
    if (chain.readableLength < this.length) return false;
    if (chain.readableLength > this.length) cut(chain, this.length);
    return true;
  }
}

/** Leaves only so many readable bytes in a chain. */
function cut(chain: DescriptorChain, length: number): void {
  let left = length;
  let index = chain.readFrom;
  for (; left > 0; index++) {
    if (chain.lengths[index]! > left) chain.lengths[index] = left;
    left -= chain.lengths[index]!;
  }
  chain.readTo = index;
  chain.readableLength = length;
}
