import type { EntropySource } from '../../devices/virtio/entropy/source.ts';
import { GRND_NONBLOCK, SYS_getrandom } from '../ffi/constants.ts';
import { CALLS_PER_BATCH, type NativeArena } from '../loop/arena.ts';

/** The host kernel's random bytes, written by it to where the guest wants them: getrandom(2), many in one foreign call. */
export class KernelEntropy implements EntropySource {
  readonly capacity = CALLS_PER_BATCH;
  readonly #arena: NativeArena;
  readonly #guest: number;
  /** Fills that were begun: host address and bytes, then the result. */
  readonly #addresses = new Float64Array(CALLS_PER_BATCH);
  readonly #lengths = new Float64Array(CALLS_PER_BATCH);
  readonly #results = new Float64Array(CALLS_PER_BATCH);
  #count = 0;

  /** @param guest host address of `GuestMemory.buffer`'s first byte */
  constructor(arena: NativeArena, guest: number) {
    this.#arena = arena;
    this.#guest = guest;
  }

  fill(offset: number, length: number): number {
    const place = this.#count;
    if (place === CALLS_PER_BATCH) throw new RangeError('too many random buffers in one batch');
    this.#addresses[place] = this.#guest + offset;
    this.#lengths[place] = length;
    this.#count = place + 1;
    return place;
  }

  submit(): void {
    const arena = this.#arena;
    const count = this.#count;
    if (arena.room < count) arena.submit();
    let last = 0;
    for (let i = 0; i < count; i++) {
      // Not to wait: a host that has only just started may have no random bytes yet.
      last = arena.queue(SYS_getrandom, this.#addresses[i]!, this.#lengths[i]!, GRND_NONBLOCK);
    }
    arena.submit();
    for (let i = 0; i < count; i++) this.#results[i] = arena.result(last - count + 1 + i);
    this.#count = 0;
  }

  result(place: number): number {
    return this.#results[place]!;
  }
}
