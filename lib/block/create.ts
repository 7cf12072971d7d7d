import { BlockDevice } from '../../devices/virtio/block/block.ts';
import type { DriveConfig } from '../config/types.ts';
import { ConfigError, HostError } from '../errors.ts';
import { SystemError } from '../ffi/errors.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import { LoopTimer } from '../loop/timer.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { RateLimiter } from '../rate-limiter.ts';
import { IoUring } from '../uring/ring.ts';
import { AsyncEngine } from './async-engine.ts';
import { DiskImage } from './image.ts';
import { SyncEngine } from './sync-engine.ts';

/** A drive's device, and what of it outlives the device's own interest. */
export interface Drive {
  readonly config: DriveConfig;
  readonly device: BlockDevice;
  /** Undefined where the configuration has none. */
  readonly limiter: RateLimiter | undefined;
  /** Waits for what is in flight, and closes the image: others may open it. */
  close(): void;
}

/** Makes the drives of one virtual machine, which share what can be shared. */
export class DriveFactory {
  readonly #loop: EventLoop;
  readonly #memory: HostMemory;
  readonly #warn: (message: string) => void;
  #ring: IoUring | undefined;
  #withoutRing = false;

  /** @param warn takes one line */
  constructor(loop: EventLoop, memory: HostMemory, warn: (message: string) => void) {
    this.#loop = loop;
    this.#memory = memory;
    this.#warn = warn;
  }

  /**
   * Opens and locks a drive's image, and makes the device.
   * @param where its place in the configuration, as `/drives/0`
   * @throws ConfigError where the image cannot be used
   */
  create(config: DriveConfig, where: string): Drive {
    const { backend } = config;
    if (backend.kind === 'vhost-user') {
      throw new ConfigError('vhost-user drives are not supported', {
        where: `${where}/socket`,
        hint: 'give path_on_host instead',
      });
    }
    const { path, readOnly } = backend;
    const image = new DiskImage({ path, readOnly, where: `${where}/path_on_host`, warn: this.#warn });
    const guest = this.#memory.addressOf(0);
    const ring = backend.ioEngine === 'Async' ? this.#ringWithRoom() : undefined;
    const engine =
      ring === undefined
        ? new SyncEngine(image, this.#loop.arena, guest)
        : new AsyncEngine(image, ring, this.#loop.arena, guest);
    const limiter =
      backend.rateLimiter === undefined
        ? undefined
        : new RateLimiter(backend.rateLimiter, (onTime) => new LoopTimer(this.#loop, onTime));
    const device = new BlockDevice(engine, { id: config.id, flush: config.cacheType === 'Writeback', limiter });
    const close = (): void => {
      engine.close();
      image.close();
    };
    return { config, device, limiter, close };
  }

  /** The ring that drives share, or a new one where it is full. Undefined where the host has none: said once. */
  #ringWithRoom(): IoUring | undefined {
    if (this.#withoutRing) return undefined;
    if (this.#ring !== undefined && this.#ring.room > 0) return this.#ring;
    try {
      this.#ring = new IoUring(this.#loop);
      return this.#ring;
    } catch (error) {
      if (!(error instanceof SystemError || error instanceof HostError)) throw error;
      this.#withoutRing = true;
      this.#warn(`io_engine Async is not available here, drives use Sync: ${error.message}`);
      return undefined;
    }
  }
}
