import { bits, bitsFor, type CpuidTable, isAmd, withBits } from './table.ts';

/**
 * One package of `vcpuCount` logical processors. Their APIC identifiers are the vCPU numbers: with two threads a core, bit
 * 0 is the thread and the rest the core, so nothing is left out between them.
 */
export interface Topology {
  readonly vcpuCount: number;
  readonly threadsPerCore: 1 | 2;
  readonly coreCount: number;
  /** Bits of an APIC identifier below those of the core. */
  readonly threadBits: number;
  /** Bits of an APIC identifier below those of the package. */
  readonly packageBits: number;
}

/** @param smt two threads a core (with an odd count, the last core has one) */
export function topologyOf(vcpuCount: number, smt: boolean): Topology {
  const threadsPerCore = smt && vcpuCount > 1 ? 2 : 1;
  const coreCount = Math.ceil(vcpuCount / threadsPerCore);
  const threadBits = bitsFor(threadsPerCore);
  return { vcpuCount, threadsPerCore, coreCount, threadBits, packageBits: threadBits + bitsFor(coreCount) };
}

/** Intel SDM volume 2, CPUID leaf 0BH: level types, ECX 15:8. */
const LEVEL_SMT = 1;
const LEVEL_CORE = 2;
/** Leaf 4 and 8000_001DH, EAX 4:0. */
const CACHE_TYPE_NONE = 0;
/** Leaf 1, EBX 15:8: a cache line in units of 8 bytes. */
const CLFLUSH_LINE_SIZE = 64 / 8;

const EXTENDED_TOPOLOGY_LEAVES = [0xb, 0x1f];

/** What is the same on every vCPU. */
export function describeTopology(table: CpuidTable, topology: Topology): void {
  const amd = isAmd(table);
  describeFeatureLeaf(table, topology, amd);
  if (amd) {
    describeAmd(table, topology);
  } else {
    describeIntelCaches(table, topology);
  }
  for (const leaf of EXTENDED_TOPOLOGY_LEAVES) {
    if (leaf <= (table.find(0)?.eax ?? 0)) table.replaceIndexed(leaf, extendedTopology(topology));
    else table.remove(leaf);
  }
}

/** What tells this vCPU from the others. */
export function setApicId(table: CpuidTable, topology: Topology, apicId: number): void {
  const feature = table.find(1);
  if (feature !== undefined) feature.ebx = withBits(feature.ebx, 31, 24, apicId);
  for (const leaf of EXTENDED_TOPOLOGY_LEAVES) {
    for (const entry of table.all(leaf)) entry.edx = apicId;
  }
  // AMD APM volume 3, Fn8000_001E: extended APIC identifier, compute unit, threads a unit less one; one node.
  if (table.find(0x8000_001e) !== undefined) {
    const core = apicId >>> topology.threadBits;
    table.replace(0x8000_001e, { eax: apicId, ebx: withBits(core, 15, 8, topology.threadsPerCore - 1) });
  }
}

/** Leaf 1. AMD counts the logical processors themselves (APM volume 3, Fn0000_0001_EBX), Intel the identifiers for them. */
function describeFeatureLeaf(table: CpuidTable, { vcpuCount, packageBits }: Topology, amd: boolean): void {
  const HTT = 1 << 28;
  const entry = table.find(1);
  if (entry === undefined) return;
  entry.ebx = withBits(entry.ebx, 15, 8, CLFLUSH_LINE_SIZE);
  entry.ebx = withBits(entry.ebx, 23, 16, amd ? vcpuCount : 2 ** packageBits);
  table.change(1, 'edx', vcpuCount > 1 ? { set: HTT } : { clear: HTT });
}

/** Leaves 0BH and 1FH: a thread level, a core level, and an invalid one that ends the list. */
function extendedTopology({ threadsPerCore, threadBits, packageBits, vcpuCount }: Topology) {
  return [
    { eax: threadBits, ebx: threadsPerCore, ecx: (LEVEL_SMT << 8) | 0 },
    { eax: packageBits, ebx: vcpuCount, ecx: (LEVEL_CORE << 8) | 1 },
    { ecx: 2 },
  ];
}

/** Leaf 4: identifiers that share each cache (first two levels: a core's threads), identifiers for cores. */
function describeIntelCaches(table: CpuidTable, { threadBits, packageBits }: Topology): void {
  for (const entry of table.all(4)) {
    if (bits(entry.eax, 4, 0) === CACHE_TYPE_NONE) continue;
    const sharing = bits(entry.eax, 7, 5) >= 3 ? packageBits : threadBits;
    entry.eax = withBits(entry.eax, 25, 14, 2 ** sharing - 1);
    entry.eax = withBits(entry.eax, 31, 26, 2 ** (packageBits - threadBits) - 1);
  }
}

function describeAmd(table: CpuidTable, topology: Topology): void {
  const CMP_LEGACY = 1 << 1;
  const TOPOLOGY_EXTENSIONS = 1 << 22;
  const { vcpuCount, threadsPerCore, packageBits } = topology;
  const extended = table.find(0x8000_0000);
  if (extended !== undefined) {
    // Leaf 8000_0026H would have to say it all once more; what it says is in 0BH.
    table.remove(0x8000_0026);
    extended.eax = Math.min(Math.max(extended.eax, 0x8000_001e), 0x8000_0025);
  }
  table.change(0x8000_0001, 'ecx', {
    clear: CMP_LEGACY,
    set: TOPOLOGY_EXTENSIONS | (vcpuCount > 1 ? CMP_LEGACY : 0),
  });
  // Fn8000_0008_ECX: NC, threads in the package less one; ApicIdSize, bits of an identifier within the package.
  const sizes = table.find(0x8000_0008);
  if (sizes !== undefined) {
    sizes.ecx = withBits(withBits(sizes.ecx, 7, 0, vcpuCount - 1), 15, 12, packageBits);
  }
  // Fn8000_001D: as leaf 4, but it counts the threads.
  for (const entry of table.all(0x8000_001d)) {
    if (bits(entry.eax, 4, 0) === CACHE_TYPE_NONE) continue;
    entry.eax = withBits(entry.eax, 25, 14, (bits(entry.eax, 7, 5) >= 3 ? vcpuCount : threadsPerCore) - 1);
  }
  table.replace(0x8000_001e, {});
}
