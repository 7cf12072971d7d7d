import type { Value } from '../layout.ts';
import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX, type kvm_cpuid_entry2 } from '../structs.ts';

/** One leaf as KVM takes it; all numbers unsigned 32-bit. */
export type CpuidEntry = Omit<Value<typeof kvm_cpuid_entry2>, 'padding'>;

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';

/** Bits `high` to `low` of a register, as the manuals write them. */
export function bits(value: number, high: number, low: number): number {
  return Math.floor((value >>> 0) / 2 ** low) % 2 ** (high - low + 1);
}

/** `value` with its bits `high` to `low` replaced by those of `field`. */
export function withBits(value: number, high: number, low: number, field: number): number {
  const mask = (2 ** (high - low + 1) - 1) * 2 ** low;
  return ((value & ~mask) | ((field * 2 ** low) & mask)) >>> 0;
}

/** The least n with 2ⁿ ≥ `count`: how many bits of an APIC identifier tell `count` things apart. */
export function bitsFor(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}

/** A table of CPUID leaves under construction. */
export class CpuidTable {
  readonly #entries: CpuidEntry[];

  /** Copies `entries`. */
  constructor(entries: readonly CpuidEntry[]) {
    this.#entries = entries.map(({ function: leaf, index, flags, eax, ebx, ecx, edx }) => {
      return { function: leaf, index, flags, eax, ebx, ecx, edx };
    });
  }

  get entries(): readonly CpuidEntry[] {
    return this.#entries;
  }

  /** What the CPU would answer: an entry without `KVM_CPUID_FLAG_SIGNIFCANT_INDEX` stands for every index. */
  find(leaf: number, index = 0): CpuidEntry | undefined {
    return this.#entries.find((entry) => {
      const significant = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
      return entry.function === leaf && (!significant || entry.index === index);
    });
  }

  /** All entries of a leaf, by rising index. */
  all(leaf: number): CpuidEntry[] {
    return this.#entries.filter((entry) => entry.function === leaf).sort((a, b) => a.index - b.index);
  }

  remove(leaf: number): void {
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      if (this.#entries[i]!.function === leaf) this.#entries.splice(i, 1);
    }
  }

  /** Puts `registers` in place of everything that the leaf said. */
  replace(leaf: number, registers: Partial<Record<CpuidRegister, number>>): void {
    this.remove(leaf);
    this.#entries.push(entryOf(leaf, 0, 0, registers));
  }

  /** Puts sub-leaves 0, 1, … in place of everything that the leaf said. */
  replaceIndexed(leaf: number, list: readonly Partial<Record<CpuidRegister, number>>[]): void {
    this.remove(leaf);
    for (const [index, registers] of list.entries()) {
      this.#entries.push(entryOf(leaf, index, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, registers));
    }
  }

  /** Clears and then sets bits of a leaf; nothing where the table has no such leaf. */
  change(leaf: number, register: CpuidRegister, { clear = 0, set = 0 }: { clear?: number; set?: number }): void {
    const entry = this.find(leaf);
    if (entry !== undefined) entry[register] = ((entry[register] & ~clear) | set) >>> 0;
  }
}

function entryOf(
  leaf: number,
  index: number,
  flags: number,
  registers: Partial<Record<CpuidRegister, number>>,
): CpuidEntry {
  return { function: leaf, index, flags, eax: 0, ebx: 0, ecx: 0, edx: 0, ...registers };
}

/** Whose manual describes the rest of the table. Hygon's CPUs are AMD's here, Zhaoxin's and Centaur's are Intel's. */
export function isAmd(table: CpuidTable): boolean {
  const vendor = vendorOf(table);
  return vendor === 'AuthenticAMD' || vendor === 'HygonGenuine';
}

/** The vendor's name of leaf 0: twelve characters, in EBX, EDX, ECX. */
export function vendorOf(table: CpuidTable): string {
  const entry = table.find(0);
  if (entry === undefined) return '';
  const view = new DataView(new ArrayBuffer(12));
  for (const [i, value] of [entry.ebx, entry.edx, entry.ecx].entries()) view.setUint32(i * 4, value, true);
  return String.fromCharCode(...new Uint8Array(view.buffer));
}
