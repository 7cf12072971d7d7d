import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import type { AccessSize } from '../../bus.ts';
import { DescriptorChain } from '../chain.ts';
import { feature, VIRTIO_ID_BALLOON } from '../constants.ts';
import { ConfigSpace, type VirtioDevice, type VirtioHost } from '../device.ts';
import type { VirtQueue } from '../queue.ts';
import {
  BalloonConfigSpace,
  STAT_SIZE,
  VIRTIO_BALLOON_CMD_ID_DONE,
  VIRTIO_BALLOON_CMD_ID_STOP,
  VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
  VIRTIO_BALLOON_PFN_SHIFT,
} from './constants.ts';
import { HugePages } from './huge-pages.ts';
import { BalloonMetrics } from './metrics.ts';
import type { PageReleaser } from './page-releaser.ts';
import { PageRuns } from './page-runs.ts';
import { type Statistics, StatisticsStore } from './statistics.ts';

/** Descriptors of each queue: Firecracker's number. */
export const BALLOON_QUEUE_SIZE = 256;
const PAGE_SIZE = 1 << VIRTIO_BALLOON_PFN_SHIFT;
/** The most pages that one request names; what is beyond is ignored. Linux names 256. */
const MAX_PAGES_PER_REQUEST = 16 * 1024;
/** Pages after which other devices have their turn. */
const PAGES_PER_TURN = 16 * 1024;
/** The most statistics of one update; Linux has 16. */
const MAX_STATISTICS = 64;

/** What a queue is for. */
const Role = { None: 0, Inflate: 1, Deflate: 2, Statistics: 3, Hinting: 4, Reporting: 5 } as const;

/** The queues that are there only with a feature, in the order of their numbers (section 5.5.2). */
const OPTIONAL_ROLES = [
  { bit: VIRTIO_BALLOON_F_STATS_VQ, role: Role.Statistics },
  { bit: VIRTIO_BALLOON_F_FREE_PAGE_HINT, role: Role.Hinting },
  { bit: VIRTIO_BALLOON_F_REPORTING, role: Role.Reporting },
] as const;
const FIRST_OPTIONAL_QUEUE = 2;

export interface BalloonOptions {
  /** How much memory the guest is asked for at first, in bytes. */
  readonly amount: number;
  /** Whether the guest may take memory back when it runs out of it. */
  readonly deflateOnOom: boolean;
  readonly statistics: boolean;
  readonly hinting: boolean;
  readonly reporting: boolean;
}

/** How far a run of free page hinting is: commands as in `free_page_hint_cmd_id`. */
export interface HintingStatus {
  readonly hostCommand: number;
  /** Undefined while the guest has not answered. */
  readonly guestCommand: number | undefined;
}

/** A virtio memory balloon (virtio 1.2 section 5.5): what the guest gives up goes back to the host at once. */
export class BalloonDevice implements VirtioDevice {
  readonly type = VIRTIO_ID_BALLOON;
  readonly name = 'balloon device';
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly metrics = new BalloonMetrics();
  readonly #config = new ConfigSpace(BalloonConfigSpace.SIZE);
  readonly #releaser: PageReleaser;
  readonly #runs: PageRuns;
  readonly #statistics = new StatisticsStore();
  #host: VirtioHost | undefined;
  #chain: DescriptorChain | undefined;
  /** Only where memory consists of huge pages. */
  #hugePages: HugePages | undefined;
  #roles: number[] = [];
  /** The chain of the last statistics, which the driver gets back to be asked for new ones; -1: we do not have it. */
  #statisticsHead = -1;
  #statisticsQueue: VirtQueue | undefined;
  #lastHintingCommand = VIRTIO_BALLOON_CMD_ID_DONE;
  #guestCommand: number | undefined;
  #acknowledgeStop = false;

  constructor(releaser: PageReleaser, options: BalloonOptions) {
    this.#releaser = releaser;
    this.#runs = new PageRuns(releaser);
    let features = 0n;
    if (options.deflateOnOom) features |= feature(VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
    if (options.statistics) features |= feature(VIRTIO_BALLOON_F_STATS_VQ);
    if (options.hinting) features |= feature(VIRTIO_BALLOON_F_FREE_PAGE_HINT);
    if (options.reporting) features |= feature(VIRTIO_BALLOON_F_REPORTING);
    this.features = features;
    const last = OPTIONAL_ROLES.findLastIndex(({ bit }) => (features & feature(bit)) !== 0n);
    this.queueSizes = new Array<number>(FIRST_OPTIONAL_QUEUE + last + 1).fill(BALLOON_QUEUE_SIZE);
    this.#setTarget(options.amount);
  }

  /** How much memory the guest is asked for, in bytes. */
  get target(): number {
    return this.#config.view.getUint32(BalloonConfigSpace.num_pages, true) * PAGE_SIZE;
  }

  /** How much memory the guest says that it has given, in bytes. */
  get actual(): number {
    return this.#config.view.getUint32(BalloonConfigSpace.actual, true) * PAGE_SIZE;
  }

  /** What the guest has told of its memory; what its driver says need not be true. */
  get statistics(): Statistics {
    return this.#statistics.all;
  }

  get hintingStatus(): HintingStatus {
    return { hostCommand: this.#hintingCommand, guestCommand: this.#guestCommand };
  }

  /** Asks the guest for so many bytes of memory, whole pages of 4 KiB. */
  setTarget(amount: number): void {
    this.#setTarget(amount);
    this.#host?.configChanged();
  }

  /** Asks the guest for new statistics. Nothing happens while it still owes us some. */
  pollStatistics(): void {
    const queue = this.#statisticsQueue;
    if (queue === undefined || this.#statisticsHead < 0) return;
    queue.push(this.#statisticsHead, 0);
    this.#statisticsHead = -1;
    if (queue.publish()) this.#host?.interrupt(queue.index);
  }

  /**
   * Asks the guest to name its free pages once, and takes them.
   * @param acknowledgeOnStop tells the guest that it may use them again as soon as it has named all; else `stopHinting` does
   * @returns whether its driver can
   */
  startHinting(acknowledgeOnStop: boolean): boolean {
    if (((this.#host?.features ?? 0n) & feature(VIRTIO_BALLOON_F_FREE_PAGE_HINT)) === 0n) return false;
    // A new number for each run, so that what belongs to an old one is known.
    const next = (this.#lastHintingCommand + 1) >>> 0;
    this.#lastHintingCommand = next > VIRTIO_BALLOON_CMD_ID_DONE ? next : VIRTIO_BALLOON_CMD_ID_DONE + 1;
    this.#acknowledgeStop = acknowledgeOnStop;
    this.#hint(this.#lastHintingCommand);
    return true;
  }

  /** Ends a run: the guest may use what it named. */
  stopHinting(): void {
    this.#hint(VIRTIO_BALLOON_CMD_ID_DONE);
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.#config.read(offset, size);
  }

  /** Only `actual` is the driver's. */
  writeConfig(offset: number, size: AccessSize, value: number): void {
    const { actual } = BalloonConfigSpace;
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      if (at >= actual && at < actual + 4) this.#config.view.setUint8(at, (value >>> (8 * i)) & 0xff);
    }
  }

  activate(host: VirtioHost): void {
    const { memory, queues } = host;
    this.#host = host;
    this.#chain = new DescriptorChain(memory, BALLOON_QUEUE_SIZE);
    if (this.#releaser.pageSize > PAGE_SIZE) this.#hugePages = new HugePages(memory.size / PAGE_SIZE);
    // The specification gives each optional queue a number of its own; Linux numbers those that are there without gaps. Either
    // way, those that the driver has enabled are those of the features that it has accepted, in this order.
    const optional = OPTIONAL_ROLES.filter(({ bit }) => (host.features & feature(bit)) !== 0n).map(({ role }) => role);
    this.#roles = queues.map(({ index, live }) => {
      if (index === 0) return Role.Inflate;
      if (index === 1) return Role.Deflate;
      return (live ? optional.shift() : undefined) ?? Role.None;
    });
    this.#statisticsQueue = queues[this.#roles.indexOf(Role.Statistics)];
  }

  /** Pages that were given back stay given back; the guest takes them again by touching them. */
  reset(): void {
    this.#host = undefined;
    this.#hugePages = undefined;
    this.#statisticsQueue = undefined;
    this.#statisticsHead = -1;
    this.#statistics.clear();
    this.#guestCommand = undefined;
    this.#config.view.setUint32(BalloonConfigSpace.actual, 0, true);
    this.#config.view.setUint32(BalloonConfigSpace.free_page_hint_cmd_id, VIRTIO_BALLOON_CMD_ID_STOP, true);
  }

  resetQueue(index: number): void {
    if (index === this.#statisticsQueue?.index) this.#statisticsHead = -1;
  }

  notify(index: number): void {
    const host = this.#host!;
    const queue = host.queues[index]!;
    switch (this.#roles[index]) {
      case Role.Inflate:
        this.metrics.inflate_count++;
        this.#inflate(host.memory, queue, this.#chain!);
        break;
      case Role.Deflate:
        this.metrics.deflate_count++;
        this.#deflate(host.memory, queue, this.#chain!);
        break;
      case Role.Statistics:
        this.#update(queue, this.#chain!);
        break;
      case Role.Hinting:
        this.#takeHints(host.memory, queue, this.#chain!);
        break;
      case Role.Reporting:
        this.#takeReports(host.memory, queue, this.#chain!);
        break;
      default:
        // A queue for a feature that was not accepted.
        queue.watched = false;
    }
    if (queue.publish()) host.interrupt(index);
  }

  #inflate(memory: GuestMemory, queue: VirtQueue, chain: DescriptorChain): void {
    const base = memory.regions[0]!.offset;
    this.#runs.begin(base);
    for (let left = PAGES_PER_TURN; left > 0 && queue.pop(chain); left--) {
      for (let pages = pagesOf(chain); pages > 0; pages--) {
        const offset = memory.tryOffsetOf(chain.takeU32() * PAGE_SIZE, PAGE_SIZE);
        left--;
        if (offset < 0) this.metrics.event_fails++;
        else this.#giveUp(offset - base);
      }
      queue.push(chain.head, 0);
    }
    // The driver may use a page again as soon as it sees that we have taken note of it: so it goes first.
    this.metrics.event_fails += this.#runs.finish();
  }

  #giveUp(start: number): void {
    if (this.#hugePages === undefined) this.#runs.add(start, start + PAGE_SIZE);
    else if (this.#hugePages.add(start / PAGE_SIZE)) {
      const { pageSize } = this.#releaser;
      const huge = start - (start % pageSize);
      this.#runs.add(huge, huge + pageSize);
    }
  }

  /** Nothing has to be done for pages that the guest takes back: they are there again when it touches them. */
  #deflate(memory: GuestMemory, queue: VirtQueue, chain: DescriptorChain): void {
    const base = memory.regions[0]!.offset;
    for (let left = PAGES_PER_TURN; left > 0 && queue.pop(chain); left--) {
      if (this.#hugePages !== undefined) {
        for (let pages = pagesOf(chain); pages > 0; pages--) {
          const offset = memory.tryOffsetOf(chain.takeU32() * PAGE_SIZE, PAGE_SIZE);
          left--;
          if (offset < 0) this.metrics.event_fails++;
          else this.#hugePages.remove((offset - base) / PAGE_SIZE);
        }
      }
      queue.push(chain.head, 0);
    }
  }

  /** Section 5.5.6.3: the buffer is kept until the next statistics are wanted. */
  #update(queue: VirtQueue, chain: DescriptorChain): void {
    for (let left = queue.size; left > 0 && queue.pop(chain); left--) {
      this.metrics.stats_updates_count++;
      // A driver has only one; another one is given back at once.
      if (this.#statisticsHead >= 0) queue.push(this.#statisticsHead, 0);
      this.#statisticsHead = chain.head;
      let known = true;
      const count = Math.min(MAX_STATISTICS, Math.floor(chain.readableLength / STAT_SIZE));
      for (let i = 0; i < count; i++) {
        const tag = chain.takeByte() | (chain.takeByte() << 8);
        if (!this.#statistics.set(tag, chain.takeNumber64())) known = false;
      }
      if (!known) this.metrics.stats_update_fails++;
    }
  }

  /** Section 5.5.6.7: a command in readable buffers, free pages in writable ones. */
  #takeHints(memory: GuestMemory, queue: VirtQueue, chain: DescriptorChain): void {
    this.#runs.begin(memory.regions[0]!.offset);
    for (let left = queue.size; left > 0 && queue.pop(chain); left--) {
      if (chain.readableLength >= 4) {
        // What was named so far goes first: the guest may use it once a run has ended.
        this.metrics.free_page_hint_fails += this.#runs.finish();
        this.#obey(chain.takeU32());
      }
      // Pages of an earlier run may be in use again.
      if (chain.writableLength > 0 && this.#guestCommand === this.#hintingCommand) {
        this.metrics.free_page_hint_count++;
        this.metrics.free_page_hint_freed += this.#take(memory, chain);
      }
      queue.push(chain.head, 0);
    }
    this.metrics.free_page_hint_fails += this.#runs.finish();
  }

  #obey(command: number): void {
    this.#guestCommand = command;
    const running = this.#hintingCommand > VIRTIO_BALLOON_CMD_ID_DONE;
    if (command === VIRTIO_BALLOON_CMD_ID_STOP && running && this.#acknowledgeStop) this.stopHinting();
  }

  /** Section 5.5.6.6: free pages in writable buffers, which are the guest's again when it gets them back. */
  #takeReports(memory: GuestMemory, queue: VirtQueue, chain: DescriptorChain): void {
    this.#runs.begin(memory.regions[0]!.offset);
    for (let left = queue.size; left > 0 && queue.pop(chain); left--) {
      this.metrics.free_page_report_count++;
      this.metrics.free_page_report_freed += this.#take(memory, chain);
      queue.push(chain.head, 0);
    }
    this.metrics.free_page_report_fails += this.#runs.finish();
  }

  /** Begins to take back the whole pages in the writable buffers of a chain. @returns how many bytes */
  #take(memory: GuestMemory, chain: DescriptorChain): number {
    const base = memory.regions[0]!.offset;
    const { pageSize } = this.#releaser;
    let taken = 0;
    for (let i = chain.writeFrom; i < chain.writeTo; i++) {
      const from = chain.offsets[i]! - base;
      const start = Math.ceil(from / pageSize) * pageSize;
      const end = Math.floor((from + chain.lengths[i]!) / pageSize) * pageSize;
      if (end <= start) continue;
      this.#runs.add(start, end);
      taken += end - start;
    }
    return taken;
  }

  get #hintingCommand(): number {
    return this.#config.view.getUint32(BalloonConfigSpace.free_page_hint_cmd_id, true);
  }

  #hint(command: number): void {
    this.#config.view.setUint32(BalloonConfigSpace.free_page_hint_cmd_id, command, true);
    this.#host?.configChanged();
  }

  #setTarget(amount: number): void {
    this.#config.view.setUint32(BalloonConfigSpace.num_pages, Math.floor(amount / PAGE_SIZE), true);
  }
}

/** How many pages a request names. */
function pagesOf(chain: DescriptorChain): number {
  return Math.min(MAX_PAGES_PER_REQUEST, Math.floor(chain.readableLength / 4));
}
