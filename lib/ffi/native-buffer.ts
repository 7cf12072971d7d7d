import { tryCall } from './libc.ts';

/** The kernel and native threads hold addresses that the garbage collector cannot see: buffers live until they are released. */
const live = new Set<SharedArrayBuffer>();

/** Memory of JavaScript whose host address is known: a view of a SharedArrayBuffer, aligned as asked. */
export class NativeBuffer {
  readonly buffer: SharedArrayBuffer;
  /** Offset of byte 0 in `buffer`. */
  readonly base: number;
  /** Host address of byte 0. */
  readonly address: number;
  readonly size: number;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly view: DataView<SharedArrayBuffer>;

  /**
   * A SharedArrayBuffer never moves, and its memory comes zeroed and untouched, so a large one costs nothing until it is used.
   * glibc's allocator does not align it, so `alignment` more bytes are asked for and the start is found inside.
   * @param size bytes
   * @param alignment bytes, a power of two
   */
  constructor(size: number, alignment = 16) {
    this.buffer = new SharedArrayBuffer(size + alignment);
    live.add(this.buffer);
    const start = addressOf(this.buffer);
    this.base = (alignment - (start % alignment)) % alignment;
    this.address = start + this.base;
    this.size = size;
    this.bytes = new Uint8Array(this.buffer, this.base, size);
    this.view = new DataView(this.buffer, this.base, size);
  }

  /** Lets the memory go with its last view, once nothing native uses its address any more. */
  release(): void {
    live.delete(this.buffer);
  }

  /** Writes an int64 or uint64 below 2⁵³ without making a BigInt. */
  setNumber64(offset: number, value: number): void {
    this.view.setUint32(offset, value >>> 0, true);
    this.view.setInt32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  }

  /** Reads an int64 whose magnitude is below 2⁵³ without making a BigInt. */
  getNumber64(offset: number): number {
    return this.view.getInt32(offset + 4, true) * 0x1_0000_0000 + this.view.getUint32(offset, true);
  }
}

/** The host address of a SharedArrayBuffer's first byte: `memmove` of no bytes returns its destination. */
function addressOf(buffer: SharedArrayBuffer): number {
  const view = Buffer.from(buffer);
  return tryCall('memmove', view, view, 0);
}
