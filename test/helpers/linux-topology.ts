import type { CpuidEntry } from '../../lib/kvm/cpuid.ts';

/**
 * What Linux makes of a CPUID table, after arch/x86/kernel/cpu/{topology.c, common.c, amd.c, cacheinfo.c} of Linux 6.1 and
 * topology_amd.c, topology_ext.c of 6.9: written from those algorithms, and using nothing of lib/.
 */
export interface Registers {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

const NOTHING: Registers = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** The `cpuid` instruction as KVM answers it, beyond the highest leaf as on AMD: zeros. */
export function cpuid(table: readonly CpuidEntry[], leaf: number, index = 0): Registers {
  return (
    table.find((entry) => entry.function === leaf && ((entry.flags & 1) === 0 || entry.index === index)) ?? NOTHING
  );
}

export function field(value: number, high: number, low: number): number {
  let result = 0;
  for (let bit = high; bit >= low; bit--) result = result * 2 + ((value >>> bit) & 1);
  return result;
}

function getCountOrder(count: number): number {
  let order = 0;
  while (2 ** order < count) order++;
  return order;
}

export interface Place {
  readonly apicId: number;
  readonly package: number;
  readonly core: number;
  readonly threadsPerCore: number;
  readonly coresPerPackage: number;
}

/** `detect_extended_topology` (6.1), leaf 1FH before 0BH; undefined where there is neither. */
export function extendedTopology(table: readonly CpuidEntry[]): Place | undefined {
  const highest = cpuid(table, 0).eax;
  const leaf = [0x1f, 0xb].find((candidate) => {
    const { ebx, ecx } = cpuid(table, candidate);
    return highest >= candidate && ebx !== 0 && field(ecx, 15, 8) === 1;
  });
  if (leaf === undefined) return undefined;
  const smt = cpuid(table, leaf, 0);
  const threads = field(smt.ebx, 15, 0);
  const smtWidth = field(smt.eax, 4, 0);
  let coreWidth = smtWidth;
  let logical = threads;
  for (let index = 1; ; index++) {
    const level = cpuid(table, leaf, index);
    const type = field(level.ecx, 15, 8);
    if (type === 0) break;
    if (type === 2) {
      logical = field(level.ebx, 15, 0);
      coreWidth = field(level.eax, 4, 0);
    }
  }
  return {
    apicId: smt.edx,
    package: smt.edx >>> coreWidth,
    core: field(smt.edx, Math.max(coreWidth - 1, 0), 0) >>> smtWidth,
    threadsPerCore: threads,
    coresPerPackage: Math.ceil(logical / threads),
  };
}

/** `detect_ht` and leaf 4 (6.1): how an Intel without leaf 0BH is understood. */
export function legacyIntelTopology(table: readonly CpuidEntry[]): Place {
  const feature = cpuid(table, 1);
  const apicId = field(feature.ebx, 31, 24);
  const cores = (cpuid(table, 4).eax & 0x1f) === 0 ? 1 : field(cpuid(table, 4).eax, 31, 26) + 1;
  const logical = field(feature.edx, 28, 28) === 1 ? field(feature.ebx, 23, 16) : 1;
  const packageWidth = getCountOrder(logical);
  const threads = logical / cores;
  const threadWidth = getCountOrder(threads);
  return {
    apicId,
    package: apicId >>> packageWidth,
    core: (apicId >>> threadWidth) & (2 ** getCountOrder(cores) - 1),
    threadsPerCore: threads,
    coresPerPackage: cores,
  };
}

/** `amd_detect_cmp`, `amd_get_topology` (6.1) and `parse_8000_0008`, `parse_8000_001e` (6.9). */
export function amdTopology(table: readonly CpuidEntry[]): Place & { readonly extendedApicId: number } {
  const sizes = cpuid(table, 0x8000_0008).ecx;
  const logical = field(sizes, 7, 0) + 1;
  const packageWidth = field(sizes, 15, 12) || getCountOrder(logical);
  const apicId = field(cpuid(table, 1).ebx, 31, 24);
  const extended = cpuid(table, 0x8000_001e);
  const threads = field(extended.ebx, 15, 8) + 1;
  return {
    apicId,
    extendedApicId: extended.eax,
    package: apicId >>> packageWidth,
    core: field(extended.ebx, 7, 0),
    threadsPerCore: threads,
    coresPerPackage: Math.ceil(logical / threads),
  };
}

export interface Cache {
  readonly level: number;
  /** `Data`, `Instruction`, `Unified` of Linux: 1, 2, 3. */
  readonly type: number;
  /** Bytes. */
  readonly size: number;
  /** Whether vCPUs with these APIC identifiers share it. */
  shared(a: number, b: number): boolean;
}

/** Leaf 4 or 8000_001DH (cacheinfo.c, `__cache_cpumap_setup` and `__cache_amd_cpumap_setup`). */
export function caches(table: readonly CpuidEntry[], leaf: 4 | 0x8000_001d): Cache[] {
  const list: Cache[] = [];
  for (let index = 0; ; index++) {
    const { eax, ebx, ecx } = cpuid(table, leaf, index);
    const type = field(eax, 4, 0);
    if (type === 0) return list;
    const count = field(eax, 25, 14) + 1;
    list.push({
      level: field(eax, 7, 5),
      type,
      size: (field(ebx, 31, 22) + 1) * (field(ebx, 21, 12) + 1) * (field(ebx, 11, 0) + 1) * (ecx + 1),
      shared(a, b) {
        if (leaf === 4) return a >>> getCountOrder(count) === b >>> getCountOrder(count);
        return a - (a % count) === b - (b % count);
      },
    });
  }
}
