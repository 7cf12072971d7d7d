import { ExitCode, MvmError } from '../errors.ts';
import { MIB, MMIO_HOLE_END, MMIO_HOLE_START } from './layout.ts';

/** A guest-physical address (or a range that starts there) is not RAM. */
export class GuestAddressError extends MvmError {
  readonly address: number;
  readonly length: number;

  constructor(address: number, length: number) {
    super(ExitCode.GuestCrashed, `guest address 0x${address.toString(16)} (${length} bytes) is outside guest memory`);
    this.address = address;
    this.length = length;
  }
}

/** A piece of guest RAM: contiguous in the guest-physical map and in the SharedArrayBuffer. Units: bytes. */
export interface MemoryRegion {
  readonly guestAddress: number;
  /** Offset of the region's first byte in `GuestMemory.buffer`. */
  readonly offset: number;
  readonly size: number;
}

/** Huge pages of 2 MiB: guest memory is aligned to them inside its buffer. */
export const HUGE_PAGE_SIZE = 2 * MIB;

/**
 * Guest RAM: views of one SharedArrayBuffer, and the map from guest-physical addresses to offsets in it.
 *
 * It knows no KVM and no host address, so devices and boot code can be tested with nothing but a plain buffer. Addresses and
 * lengths are numbers: exact up to 2⁵³, above any guest-physical address that mvm places.
 */
export class GuestMemory {
  readonly buffer: SharedArrayBuffer;
  /** The whole of `buffer`; index with `offsetOf`. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly view: DataView<SharedArrayBuffer>;
  readonly size: number;
  readonly regions: readonly MemoryRegion[];
  readonly #lowSize: number;
  readonly #highSize: number;
  readonly #base: number;

  /**
   * @param buffer holds at least `base + size` bytes
   * @param base offset in `buffer` of guest address 0 (where the host address is aligned to 2 MiB)
   * @param size bytes of RAM
   */
  constructor(buffer: SharedArrayBuffer, base: number, size: number) {
    if (base + size > buffer.byteLength) throw new RangeError('guest memory is larger than its buffer');
    this.buffer = buffer;
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.size = size;
    this.#base = base;
    this.#lowSize = Math.min(size, MMIO_HOLE_START);
    this.#highSize = size - this.#lowSize;
    const regions: MemoryRegion[] = [{ guestAddress: 0, offset: base, size: this.#lowSize }];
    if (this.#highSize > 0) {
      regions.push({ guestAddress: MMIO_HOLE_END, offset: base + this.#lowSize, size: this.#highSize });
    }
    this.regions = regions;
  }

  /** A guest memory over a fresh buffer of exactly `size` bytes, for tests and tools that map nothing. */
  static plain(size: number): GuestMemory {
    return new GuestMemory(new SharedArrayBuffer(size), 0, size);
  }

  /** The first guest address above all RAM. */
  get end(): number {
    return this.#highSize > 0 ? MMIO_HOLE_END + this.#highSize : this.#lowSize;
  }

  /** The offset in `buffer` of `length` bytes at `address`, or -1 where any of them is not RAM. Never throws, never allocates. */
  tryOffsetOf(address: number, length: number): number {
    if (address >= 0 && length >= 0) {
      if (address + length <= this.#lowSize) return this.#base + address;
      if (address >= MMIO_HOLE_END && address - MMIO_HOLE_END + length <= this.#highSize) {
        return this.#base + this.#lowSize + (address - MMIO_HOLE_END);
      }
    }
    return -1;
  }

  /**
   * The offset in `buffer` of `length` bytes at `address`.
   * @throws GuestAddressError where any of them is not RAM
   */
  offsetOf(address: number, length: number): number {
    const offset = this.tryOffsetOf(address, length);
    if (offset < 0) throw new GuestAddressError(address, length);
    return offset;
  }

  /** Copies `data` into the guest at `address`. */
  write(address: number, data: Uint8Array): void {
    this.bytes.set(data, this.offsetOf(address, data.length));
  }

  /** A copy of `length` bytes of the guest at `address`. */
  read(address: number, length: number): Uint8Array<ArrayBuffer> {
    const offset = this.offsetOf(address, length);
    return new Uint8Array(this.bytes.subarray(offset, offset + length));
  }
}
