/** What a guest tells of its memory, by VIRTIO_BALLOON_S_* number (virtio 1.2 section 5.5.6.4) and Firecracker's name. */
export const STATISTIC_NAMES = [
  'swap_in',
  'swap_out',
  'major_faults',
  'minor_faults',
  'free_memory',
  'total_memory',
  'available_memory',
  'disk_caches',
  'hugetlb_allocations',
  'hugetlb_failures',
  'oom_kill',
  'alloc_stall',
  'async_scan',
  'direct_scan',
  'async_reclaim',
  'direct_reclaim',
] as const;

export type StatisticName = (typeof STATISTIC_NAMES)[number];

/** Sizes in bytes, all else in numbers of events. What the guest has never told is not there. */
export type Statistics = Partial<Record<StatisticName, number>>;

/** The newest of each number that the guest has told. */
export class StatisticsStore {
  readonly #values = new Float64Array(STATISTIC_NAMES.length).fill(Number.NaN);

  /** @returns whether there is a statistic of that number */
  set(tag: number, value: number): boolean {
    if (tag >= this.#values.length) return false;
    this.#values[tag] = value;
    return true;
  }

  clear(): void {
    this.#values.fill(Number.NaN);
  }

  get all(): Statistics {
    const told: Statistics = {};
    for (const [tag, name] of STATISTIC_NAMES.entries()) {
      const value = this.#values[tag]!;
      if (!Number.isNaN(value)) told[name] = value;
    }
    return told;
  }
}
