import { CONNECTION_BUFFER_SIZE } from '../../devices/virtio/vsock/constants.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';

/** What a guest has sent and the host's application has not taken yet: bytes at a host address. */
export class OutputBuffer {
  readonly #memory = new NativeBuffer(CONNECTION_BUFFER_SIZE);
  readonly #bytes = Buffer.from(this.#memory.buffer, this.#memory.base, CONNECTION_BUFFER_SIZE);
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** Host address of the first byte. */
  get address(): number {
    return this.#memory.address + this.#start;
  }

  /** Adds bytes of guest memory: no more than there is room for, which credit sees to. */
  append(guest: Buffer, offset: number, length: number): void {
    if (this.#end + length > CONNECTION_BUFFER_SIZE) {
      this.#bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    // Buffer.copy makes no views: it allocates nothing.
    this.#end += guest.copy(this.#bytes, this.#end, offset, offset + length);
  }

  /** The first bytes have been taken. */
  remove(length: number): void {
    this.#start += length;
    if (this.#start === this.#end) this.clear();
  }

  clear(): void {
    this.#start = 0;
    this.#end = 0;
  }

  /** Gives the memory back. */
  release(): void {
    this.#memory.release();
  }
}
