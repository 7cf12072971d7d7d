import { BalloonDevice } from '../../../devices/virtio/balloon/balloon.ts';
import type { PageReleaser } from '../../../devices/virtio/balloon/page-releaser.ts';
import { EntropyDevice } from '../../../devices/virtio/entropy/entropy.ts';
import type { EntropySource } from '../../../devices/virtio/entropy/source.ts';
import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { Driver, type TransportName } from './driver.ts';
import { HostileDevice, hostileMemory } from './hostile-device.ts';
import { below, pick } from './tape.ts';

const PAGE = 4096;

/** Random bytes that are all the same, or errors, and never outside guest memory. */
class MemoryEntropy implements EntropySource {
  readonly capacity = 8;
  readonly #memory: GuestMemory;
  failing = false;
  readonly #lengths: number[] = [];
  #submitted = false;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  fill(offset: number, length: number): number {
    if (this.#submitted) this.#lengths.length = 0;
    this.#submitted = false;
    if (this.#lengths.length === this.capacity) throw new Error('more than there is room for');
    const { offset: base } = this.#memory.regions[0]!;
    if (length < 1 || offset < base || offset + length > base + this.#memory.size) throw new Error('not in the guest');
    if (!this.failing) this.#memory.bytes.fill(0xff, offset, offset + length);
    return this.#lengths.push(length) - 1;
  }

  submit(): void {
    this.#submitted = true;
  }

  result(place: number): number {
    const length = this.#lengths[place];
    if (length === undefined || !this.#submitted) throw new Error('no such result');
    return this.failing ? -11 : length;
  }
}

/** A hostile guest with an entropy device, whose limiter and source are moody. */
export function hostileEntropy(transport: TransportName): HostileDevice {
  const memory = hostileMemory();
  const source = new MemoryEntropy(memory);
  let allow = Number.POSITIVE_INFINITY;
  let ready: (() => void) | undefined;
  const limiter = {
    take: () => allow-- > 0,
    onReady: (listener: () => void) => {
      ready = listener;
    },
  };
  const device = new EntropyDevice(source, limiter);
  const driver = new Driver(transport, device, memory);
  return new HostileDevice({
    driver,
    features: [28, 29],
    writable: [true],
    happen(tape) {
      source.failing = below(tape, 4) === 0;
      allow = pick(tape, [0, 1, 5, Number.POSITIVE_INFINITY]);
      ready?.();
    },
    use() {},
    proveAlive() {
      source.failing = false;
      allow = Number.POSITIVE_INFINITY;
      ready?.();
      const address = driver.allocate(64);
      driver.ring().add([{ address, length: 64, writable: true }]);
      driver.core.poll();
      if (driver.ring().collect()[0]?.length !== 64) throw new Error('it is not answered');
      if (driver.memory.read(address, 64).some((byte) => byte !== 0xff)) throw new Error('it is not filled');
    },
  });
}

/** Throws where it is asked for anything but whole pages of guest memory. */
class WatchedReleaser implements PageReleaser {
  readonly pageSize: number;
  readonly #memory: GuestMemory;
  begun = 0;
  released = 0;

  constructor(memory: GuestMemory, pageSize: number) {
    this.#memory = memory;
    this.pageSize = pageSize;
  }

  releasePages(offset: number, length: number): void {
    const start = offset - this.#memory.regions[0]!.offset;
    if (start < 0 || length <= 0 || start + length > this.#memory.size) throw new Error('not in the guest');
    if (start % this.pageSize !== 0 || length % this.pageSize !== 0) throw new Error('not whole pages');
    this.begun += length;
  }

  finish(): number {
    this.released += this.begun;
    this.begun = 0;
    return this.released % 7 === 0 ? 1 : 0;
  }
}

/** A hostile guest with a balloon, whose owner asks for this and that. */
export function hostileBalloon(transport: TransportName): HostileDevice {
  const memory = hostileMemory();
  const releaser = new WatchedReleaser(memory, PAGE);
  const options = { amount: 0, deflateOnOom: true, statistics: true, hinting: true, reporting: true };
  const device = new BalloonDevice(releaser, options);
  const driver = new Driver(transport, device, memory);
  return new HostileDevice({
    driver,
    features: [28, 29, 1, 2, 3, 5],
    writable: [false, false, false, true, true],
    happen(tape) {
      if (releaser.begun !== 0) throw new Error('something was begun and not finished');
      switch (below(tape, 4)) {
        case 0:
          device.setTarget(tape.next());
          break;
        case 1:
          device.pollStatistics();
          break;
        case 2:
          device.startHinting(below(tape, 2) === 0);
          break;
        default:
          device.stopHinting();
      }
      const { statistics } = device;
      for (const value of Object.values(statistics)) if (!Number.isFinite(value)) throw new Error('no number');
    },
    use() {},
    proveAlive() {
      const before = releaser.released;
      const address = driver.allocate(4, 4);
      driver.memory.view.setUint32(driver.memory.offsetOf(address, 4), 100, true);
      driver.ring(0).add([{ address, length: 4, writable: false }]);
      driver.ring(4).add([{ address: 0x2_0000, length: 2 * PAGE, writable: true }]);
      driver.core.poll();
      if (releaser.released !== before + 3 * PAGE) throw new Error('nothing is given back any more');
      if (driver.ring(0).collect().length !== 1 || driver.ring(4).collect().length !== 1) throw new Error('no answer');
    },
  });
}
