import { formatSize } from '../config/size.ts';
import type { Finding } from './finding.ts';
import type { HostView } from './host-view.ts';

const KIB = 1024;
const HUGETLB = '/sys/kernel/mm/hugepages/hugepages-2048kB';
const THP = '/sys/kernel/mm/transparent_hugepage/enabled';

/** What guests can have of this host's memory, and in which pages. */
export function probeMemory(host: HostView): Finding[] {
  return [probeSize(host), probeTransparent(host), probeHugetlb(host)];
}

function probeSize(host: HostView): Finding {
  const info = host.read('/proc/meminfo') ?? '';
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(info)?.[1] ?? Number.NaN) * KIB;
  const total = field('MemTotal');
  const available = field('MemAvailable');
  if (Number.isNaN(total)) {
    return {
      group: 'Memory',
      name: 'memory',
      state: 'fair',
      value: 'unknown',
      meaning: 'mvm cannot tell how much a guest can have.',
      advice: 'Mount /proc.',
    };
  }
  return {
    group: 'Memory',
    name: 'memory',
    state: 'info',
    value: `${megabytes(available)} of ${megabytes(total)} available`,
    meaning: 'Guests take memory page by page, as they touch it; all of it together is the most that one may have.',
  };
}

function megabytes(bytes: number): string {
  return formatSize(Math.floor(bytes / (KIB * KIB)) * KIB * KIB);
}

function probeTransparent(host: HostView): Finding {
  const choice = host.readChoice(THP);
  const common = { group: 'Memory', name: 'transparent huge pages' } as const;
  switch (choice) {
    case 'always':
      return { ...common, state: 'good', value: choice, meaning: 'Every guest gets huge pages where it can.' };
    case 'madvise':
      return { ...common, state: 'good', value: choice, meaning: 'Guests with huge_pages "Transparent" get them.' };
    case 'never':
      return {
        ...common,
        state: 'fair',
        value: choice,
        meaning: 'huge_pages "Transparent" has no effect: guest memory is in pages of 4 KiB.',
        advice: `Allow them to who asks: echo madvise | sudo tee ${THP}.`,
      };
    default:
      return {
        ...common,
        state: 'fair',
        value: 'not in this kernel',
        meaning: 'huge_pages "Transparent" cannot be had.',
        advice: 'Use a kernel with CONFIG_TRANSPARENT_HUGEPAGE.',
      };
  }
}

function probeHugetlb(host: HostView): Finding {
  const common = { group: 'Memory', name: '2 MiB page pool' } as const;
  const total = host.readNumber(`${HUGETLB}/nr_hugepages`);
  const free = host.readNumber(`${HUGETLB}/free_hugepages`);
  if (total === undefined || free === undefined) {
    return {
      ...common,
      state: 'info',
      value: 'not in this kernel',
      meaning: 'huge_pages "2M" cannot be had.',
      advice: 'Use a kernel with CONFIG_HUGETLBFS.',
    };
  }
  const overcommit = host.readNumber(`${HUGETLB}/nr_overcommit_hugepages`) ?? 0;
  const pages = freeHugePages(host) ?? 0;
  if (pages === 0) {
    return {
      ...common,
      state: 'info',
      value: total === 0 ? 'empty' : `all ${total} pages in use`,
      meaning: 'A guest with huge_pages "2M" does not start.',
      advice: 'For one of 256 MiB, reserve 128 pages: sudo sysctl vm.nr_hugepages=128.',
    };
  }
  const beyond = overcommit > 0 ? ` (and up to ${overcommit} beyond the pool)` : '';
  return {
    ...common,
    state: 'good',
    value: `${free} of ${total} pages free${beyond}`,
    meaning: `Guests with huge_pages "2M" can have ${formatSize(pages * 2 * KIB * KIB)}.`,
  };
}

/** Pages of 2 MiB that a guest can still have; undefined where the kernel has no pool. */
export function freeHugePages(host: HostView): number | undefined {
  const free = host.readNumber(`${HUGETLB}/free_hugepages`);
  if (free === undefined) return undefined;
  const reserved = host.readNumber(`${HUGETLB}/resv_hugepages`) ?? 0;
  const surplus = host.readNumber(`${HUGETLB}/surplus_hugepages`) ?? 0;
  const overcommit = host.readNumber(`${HUGETLB}/nr_overcommit_hugepages`) ?? 0;
  return free - reserved + Math.max(0, overcommit - surplus);
}
