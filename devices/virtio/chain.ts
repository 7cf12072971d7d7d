import type { GuestMemory } from '../../lib/memory/guest-memory.ts';
import { Fault } from './faults.ts';

/** The most bytes that a chain may describe: virtio 1.2 section 2.7.5 forbids more than 2³² in total, and `used.len` is a u32. */
const MAX_CHAIN_BYTES = 0xffff_ffff;

/**
 * A descriptor chain that was read from guest memory, once, and checked: where its buffers lie in `memory.buffer`.
 *
 * Made once and filled again for each chain. Readable buffers are those from `readFrom` up to `readTo` (exclusive), writable ones those
 * from `writeFrom` up to `writeTo`; taking bytes off either end moves these and shortens `lengths`.
 */
export class DescriptorChain {
  readonly memory: GuestMemory;
  /** Offsets in `memory.buffer`, by segment. */
  readonly offsets: Float64Array;
  /** Bytes, by segment; never 0 within the bounds above. */
  readonly lengths: Float64Array;
  /** Index of the first descriptor, which names the chain. */
  head = 0;
  readFrom = 0;
  readTo = 0;
  writeFrom = 0;
  writeTo = 0;
  /** Bytes left for the device to read. */
  readableLength = 0;
  /** Bytes left for the device to write. */
  writableLength = 0;

  /** @param maxSegments the most buffers that a chain may have */
  constructor(memory: GuestMemory, maxSegments: number) {
    this.memory = memory;
    this.offsets = new Float64Array(maxSegments);
    this.lengths = new Float64Array(maxSegments);
  }

  /** Starts a new chain without buffers. */
  begin(head: number): void {
    this.head = head;
    this.readFrom = 0;
    this.readTo = 0;
    this.writeFrom = 0;
    this.writeTo = 0;
    this.readableLength = 0;
    this.writableLength = 0;
  }

  /** Adds a buffer at a guest-physical address, after checking it. */
  add(address: number, length: number, writable: boolean): Fault {
    const index = this.writeTo;
    if (index === this.offsets.length) return Fault.ChainLength;
    if (length === 0) return Fault.BufferLength;
    if (this.readableLength + this.writableLength + length > MAX_CHAIN_BYTES) return Fault.ChainBytes;
    const offset = this.memory.tryOffsetOf(address, length);
    if (offset < 0) return Fault.BufferAddress;
    this.offsets[index] = offset;
    this.lengths[index] = length;
    this.writeTo = index + 1;
    if (writable) {
      this.writableLength += length;
      return Fault.None;
    }
    // virtio 1.2 section 2.7.4.2: all readable buffers come first.
    if (this.writableLength !== 0) return Fault.BufferOrder;
    this.readTo = index + 1;
    this.writeFrom = index + 1;
    this.readableLength += length;
    return Fault.None;
  }

  /** Takes the next byte to read. Only where `readableLength` is not 0. */
  takeByte(): number {
    const index = this.readFrom;
    const offset = this.offsets[index]!;
    const left = this.lengths[index]! - 1;
    this.offsets[index] = offset + 1;
    this.lengths[index] = left;
    this.readableLength--;
    if (left === 0) this.readFrom = index + 1;
    return this.memory.bytes[offset]!;
  }

  /** Takes a little-endian u32. Only where `readableLength` is at least 4. */
  takeU32(): number {
    const index = this.readFrom;
    const left = this.lengths[index]! - 4;
    if (left < 0) return this.#takeSplitU32();
    const offset = this.offsets[index]!;
    this.offsets[index] = offset + 4;
    this.lengths[index] = left;
    this.readableLength -= 4;
    if (left === 0) this.readFrom = index + 1;
    return this.memory.view.getUint32(offset, true);
  }

  /** One that lies in several buffers. */
  #takeSplitU32(): number {
    const low = this.takeByte() | (this.takeByte() << 8);
    return (low | (this.takeByte() << 16) | (this.takeByte() << 24)) >>> 0;
  }

  /** Takes a little-endian u64 as a number: exact below 2⁵³, rounded above. Only where `readableLength` is at least 8. */
  takeNumber64(): number {
    const low = this.takeU32();
    return this.takeU32() * 0x1_0000_0000 + low;
  }

  /** Takes the last writable byte. Only where `writableLength` is not 0. @returns its offset in `memory.buffer` */
  takeLastWritable(): number {
    const index = this.writeTo - 1;
    const left = this.lengths[index]! - 1;
    this.lengths[index] = left;
    this.writableLength--;
    if (left === 0) this.writeTo = index;
    return this.offsets[index]! + left;
  }

  /** Writes the next byte for the driver. Only where `writableLength` is not 0. */
  putByte(value: number): void {
    const index = this.writeFrom;
    const offset = this.offsets[index]!;
    const left = this.lengths[index]! - 1;
    this.offsets[index] = offset + 1;
    this.lengths[index] = left;
    this.writableLength--;
    if (left === 0) this.writeFrom = index + 1;
    this.memory.bytes[offset] = value;
  }
}
