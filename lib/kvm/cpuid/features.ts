import { type CpuidTable, isAmd, vendorOf } from './table.ts';

// Leaf 1, ECX.
const VMX = 1 << 5;
const CMPXCHG16B = 1 << 13;
const PDCM = 1 << 15;
const PCID = 1 << 17;
const X2APIC = 1 << 21;
const MOVBE = 1 << 22;
const POPCNT = 1 << 23;
const TSC_DEADLINE = 1 << 24;
const XSAVE = 1 << 26;
const OSXSAVE = 1 << 27;
const AVX = 1 << 28;
const F16C = 1 << 29;
const HYPERVISOR = 1 << 31;
// Leaf 1, EDX.
const DS = 1 << 21;
// Leaf 7, EBX and ECX.
const SGX = 1 << 2;
const SGX_LC = 1 << 30;
// Leaf 8000_0001H, ECX and EDX.
const SVM = 1 << 2;
const LZCNT = 1 << 5;
const PERFCTR_CORE = 1 << 23;
const PERFCTR_NB = 1 << 24;
const PERFCTR_LLC = 1 << 28;
const RDTSCP = 1 << 27;

/**
 * The features of every guest. Hidden: nested virtualization and SGX (what the host's kernel would have to do for them is
 * more than a microVM is given), and performance counters (they tell of the host).
 */
export function setFeatures(table: CpuidTable, options: { tscDeadlineTimer: boolean }): void {
  table.change(1, 'ecx', {
    // OSXSAVE follows the guest's CR4; KVM keeps it.
    clear: VMX | PDCM | OSXSAVE | TSC_DEADLINE,
    // KVM's in-kernel APIC has an x2APIC mode everywhere. Old kernels leave the deadline timer for user space to announce.
    set: HYPERVISOR | X2APIC | (options.tscDeadlineTimer ? TSC_DEADLINE : 0),
  });
  table.change(1, 'edx', { clear: DS });
  table.change(7, 'ebx', { clear: SGX });
  table.change(7, 'ecx', { clear: SGX_LC });
  // Thermal and power management: only that the APIC's timer runs in every C-state (ARAT).
  if (table.find(6) !== undefined) table.replace(6, { eax: 1 << 2 });
  clear(table, 0xa);
  clear(table, 0x12);
  if (isAmd(table)) {
    table.change(0x8000_0001, 'ecx', { clear: SVM | PERFCTR_CORE | PERFCTR_NB | PERFCTR_LLC });
    clear(table, 0x8000_000a);
    clear(table, 0x8000_0022);
  }
}

/** Zeroes a leaf that is there. */
function clear(table: CpuidTable, leaf: number): void {
  if (table.find(leaf) !== undefined) table.replace(leaf, {});
}

/** KVM-PVM: the highest basic leaf that guests are shown. */
export const PVM_MAX_BASIC_LEAF = 6;

/**
 * KVM-PVM emulates a guest's CPL 0, and its emulator lacks instructions that Linux chooses by CPUID. At CPL 0 the `cpuid`
 * instruction gives what `KVM_SET_CPUID2` says, except for what it takes from the CPU whatever is set: leaf 7 and leaf 0DH
 * whole, and in leaf 1 among others POPCNT, XSAVE and AVX. Below a highest basic leaf of 7 Linux reads no leaf 7 (SMAP,
 * SMEP, ERMS, FSRM, INVPCID, MD_CLEAR go), and below 0DH it drops XSAVE and all that needs it
 * (arch/x86/kernel/cpu/common.c, `get_cpu_cap` and `filter_cpuid_features`). The rest can be hidden here, but POPCNT: it
 * needs `clearcpuid=popcnt`. At CPL 3 the instruction runs on the CPU, and no table changes what it says.
 */
export function hideFromPvm(table: CpuidTable): void {
  const highest = table.find(0);
  if (highest !== undefined) highest.eax = Math.min(highest.eax, PVM_MAX_BASIC_LEAF);
  table.change(1, 'ecx', { clear: CMPXCHG16B | PCID | MOVBE | POPCNT | XSAVE | AVX | F16C });
  // The emulator takes LZCNT for BSR, which gives another result.
  table.change(0x8000_0001, 'ecx', { clear: LZCNT });
  table.change(0x8000_0001, 'edx', { clear: RDTSCP });
  for (const { function: leaf } of [...table.entries]) {
    if (leaf > PVM_MAX_BASIC_LEAF && leaf < 0x4000_0000) table.remove(leaf);
  }
}

const BRAND_LEAVES = [0x8000_0002, 0x8000_0003, 0x8000_0004];

/** The brand string: no more of the host's model than the vendor, and the TSC's frequency where Intel writes one. */
export function setBrand(table: CpuidTable, tscKhz: number): void {
  const brand = brandOf(vendorOf(table), tscKhz);
  if (brand === undefined) return;
  const view = new DataView(new ArrayBuffer(48));
  for (let i = 0; i < brand.length; i++) view.setUint8(i, brand.charCodeAt(i));
  for (const [i, leaf] of BRAND_LEAVES.entries()) {
    const [eax, ebx, ecx, edx] = [0, 4, 8, 12].map((offset) => view.getUint32(i * 16 + offset, true));
    table.replace(leaf, { eax: eax!, ebx: ebx!, ecx: ecx!, edx: edx! });
  }
}

function brandOf(vendor: string, tscKhz: number): string | undefined {
  if (vendor === 'AuthenticAMD') return 'AMD EPYC';
  if (vendor !== 'GenuineIntel') return undefined;
  const frequency = tscKhz > 0 ? ` @ ${(tscKhz / 1e6).toFixed(2)}GHz` : '';
  return `Intel(R) Xeon(R) Processor${frequency}`;
}
