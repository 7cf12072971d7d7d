import { BalloonDevice } from '../../devices/virtio/balloon/balloon.ts';
import type { BalloonConfig, HugePages } from '../config/types.ts';
import { ConfigError } from '../errors.ts';
import type { NativeArena } from '../loop/arena.ts';
import { HUGE_PAGE_SIZE } from '../memory/guest-memory.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { MIB } from '../memory/layout.ts';
import { MadvisePageReleaser } from './page-releaser.ts';

const PAGE_SIZE = 4096;
const MS_PER_SECOND = 1000;

/** A virtual machine's balloon, and what the control interface does with it. */
export class Balloon {
  readonly device: BalloonDevice;
  readonly deflateOnOom: boolean;
  readonly #memorySize: number;
  #interval: number;
  #timer: NodeJS.Timeout | undefined;

  /** @param hugePages how `memory` is backed */
  constructor(config: BalloonConfig, arena: NativeArena, memory: HostMemory, hugePages: HugePages) {
    this.#memorySize = memory.guest.size;
    this.#checkAmount(config.amount, '/balloon/amount_mib');
    const pageSize = hugePages === '2M' ? HUGE_PAGE_SIZE : PAGE_SIZE;
    this.deflateOnOom = config.deflateOnOom;
    this.#interval = config.statsPollingInterval;
    this.device = new BalloonDevice(new MadvisePageReleaser(arena, memory.addressOf(0), pageSize), {
      amount: config.amount,
      deflateOnOom: config.deflateOnOom,
      statistics: config.statsPollingInterval > 0,
      hinting: config.freePageHinting,
      reporting: config.freePageReporting,
    });
    this.#setTimer();
  }

  /** Seconds between two updates of the statistics; 0: there are none. */
  get statsPollingInterval(): number {
    return this.#interval;
  }

  /**
   * Asks the guest for so many bytes.
   * @throws ConfigError where that is more than it has
   */
  setTarget(amount: number): void {
    this.#checkAmount(amount, 'amount_mib');
    this.device.setTarget(amount);
  }

  /**
   * Changes the interval, in seconds. As in Firecracker, statistics are there from the start or never.
   * @throws ConfigError where this would switch them on or off
   */
  setStatsPollingInterval(seconds: number): void {
    if (seconds > 0 !== this.#interval > 0) {
      throw new ConfigError('balloon statistics can be neither switched on nor off while the guest runs', {
        where: 'stats_polling_interval_s',
        hint: 'set it before the guest starts',
      });
    }
    this.#interval = seconds;
    this.#setTimer();
  }

  /** Asks for no more statistics: the machine has ended. */
  close(): void {
    clearInterval(this.#timer);
  }

  #setTimer(): void {
    clearInterval(this.#timer);
    if (this.#interval === 0) return;
    this.#timer = setInterval(() => this.device.pollStatistics(), this.#interval * MS_PER_SECOND);
  }

  #checkAmount(amount: number, where: string): void {
    if (amount <= this.#memorySize) return;
    throw new ConfigError(`the balloon cannot be larger than the guest's memory of ${this.#memorySize / MIB} MiB`, {
      where,
    });
  }
}
