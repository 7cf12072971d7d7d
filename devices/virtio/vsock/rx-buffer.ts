import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { DescriptorChain } from '../chain.ts';
import type { VirtQueue } from '../queue.ts';
import type { Connection } from './connection.ts';
import {
  CONNECTION_BUFFER_SIZE,
  VIRTIO_VSOCK_TYPE_STREAM,
  VMADDR_CID_HOST,
  VSOCK_QUEUE_SIZE,
  VsockHeader,
} from './constants.ts';

/** A buffer that the driver has given for one packet: room for a header, and for data behind it. */
export class RxBuffer {
  readonly chain: DescriptorChain;
  /** Data goes into segments from here up to `dataTo`. */
  dataFrom = 0;
  dataTo = 0;
  /** Bytes for data. */
  room = 0;
  /** Whose data is being read into it. */
  connection: Connection | undefined;
  readonly #memory: GuestMemory;
  readonly #guestCid: number;
  /** Where a header is made that lies in pieces in guest memory. */
  readonly #scratch = new DataView(new ArrayBuffer(VsockHeader.SIZE));
  /** Where the header lies: offset in `#memory.buffer`, or -1 where it is in pieces. */
  #header = 0;
  /** Bytes of the header in the segment where data begins. */
  #skipped = 0;
  /** The length of the last segment, where `limit` has shortened it. */
  #limited = 0;

  constructor(memory: GuestMemory, guestCid: number) {
    this.chain = new DescriptorChain(memory, VSOCK_QUEUE_SIZE);
    this.#memory = memory;
    this.#guestCid = guestCid;
  }

  /** Takes a buffer from the queue. @returns 1: there was one; 0: there was none; -1: it is too small for a header and data */
  take(queue: VirtQueue): number {
    const { chain } = this;
    if (!queue.pop(chain)) return 0;
    if (chain.writableLength <= VsockHeader.SIZE) return -1;
    let index = chain.writeFrom;
    this.#header = chain.lengths[index]! >= VsockHeader.SIZE ? chain.offsets[index]! : -1;
    let left: number = VsockHeader.SIZE;
    while (chain.lengths[index]! <= left) left -= chain.lengths[index++]!;
    this.#skipped = left;
    chain.offsets[index]! += left;
    chain.lengths[index]! -= left;
    this.dataFrom = index;
    this.dataTo = chain.writeTo;
    this.room = chain.writableLength - VsockHeader.SIZE;
    this.#limited = 0;
    return 1;
  }

  /** Makes room for no more than so many bytes of data, at least one. */
  limit(room: number): void {
    if (room >= this.room) return;
    const { lengths } = this.chain;
    let index = this.dataFrom;
    let left = room;
    while (lengths[index]! < left) left -= lengths[index++]!;
    this.#limited = lengths[index]!;
    lengths[index] = left;
    this.dataTo = index + 1;
  }

  /** Undoes `limit`: nothing was written, and the buffer serves another packet. */
  restore(): void {
    if (this.#limited > 0) this.chain.lengths[this.dataTo - 1] = this.#limited;
    this.#limited = 0;
    this.dataTo = this.chain.writeTo;
    this.connection = undefined;
  }

  /** Writes a packet's header of a connection, with its credit. */
  write(connection: Connection, operation: number, flags: number, length: number): void {
    connection.told();
    this.#write(connection.hostPort, connection.guestPort, operation, flags, length, connection.forwarded);
  }

  /** Writes the header of a packet of no connection. */
  writeOrphan(hostPort: number, guestPort: number, operation: number): void {
    this.#write(hostPort, guestPort, operation, 0, 0, 0);
  }

  #write(hostPort: number, guestPort: number, operation: number, flags: number, length: number, fwd: number): void {
    const split = this.#header < 0;
    const view = split ? this.#scratch : this.#memory.view;
    const at = split ? 0 : this.#header;
    view.setUint32(at + VsockHeader.src_cid, VMADDR_CID_HOST, true);
    view.setUint32(at + VsockHeader.src_cid + 4, 0, true);
    view.setUint32(at + VsockHeader.dst_cid, this.#guestCid, true);
    view.setUint32(at + VsockHeader.dst_cid + 4, 0, true);
    view.setUint32(at + VsockHeader.src_port, hostPort, true);
    view.setUint32(at + VsockHeader.dst_port, guestPort, true);
    view.setUint32(at + VsockHeader.len, length, true);
    view.setUint16(at + VsockHeader.type, VIRTIO_VSOCK_TYPE_STREAM, true);
    view.setUint16(at + VsockHeader.op, operation, true);
    view.setUint32(at + VsockHeader.flags, flags, true);
    view.setUint32(at + VsockHeader.buf_alloc, CONNECTION_BUFFER_SIZE, true);
    view.setUint32(at + VsockHeader.fwd_cnt, fwd, true);
    if (split) this.#scatter();
  }

  /** Copies a header into the pieces that the driver has made for it. */
  #scatter(): void {
    const { bytes } = this.#memory;
    const { offsets, lengths, writeFrom } = this.chain;
    let done = 0;
    for (let index = writeFrom; done < VsockHeader.SIZE; index++) {
      const last = index === this.dataFrom;
      const offset = offsets[index]! - (last ? this.#skipped : 0);
      const end = done + (last ? this.#skipped : lengths[index]!);
      for (let i = done; i < end; i++) bytes[offset + i - done] = this.#scratch.getUint8(i);
      done = end;
    }
  }
}
