import type { XsaveComponent, XsaveLayout } from '../emulate/types.ts';
import { type CpuidEntry, CpuidTable } from '../kvm/cpuid/table.ts';
import type { CpuFacts } from './cpu-context.ts';

/** Processors without leaf 0x80000008 have 36 bits of physical address (Intel SDM vol. 3A §4.1.4). */
const DEFAULT_PHYSICAL_ADDRESS_BITS = 36;
/** `CPUID.0DH:i:ECX[1]`: the component is aligned to 64 bytes in the compacted format. */
const XSAVE_ALIGNED = 2;
const MAX_COMPONENTS = 32;

/** What instruction completion needs to know of the guest's processor, from its CPUID leaves. */
export function cpuFacts(entries: readonly CpuidEntry[]): CpuFacts {
  const table = new CpuidTable(entries);
  const address = table.find(0x8000_0008)?.eax ?? 0;
  return {
    physicalAddressBits: address & 0xff || DEFAULT_PHYSICAL_ADDRESS_BITS,
    xsaveLayout: xsaveLayout(table),
  };
}

/** Intel SDM vol. 1 §13.2: leaf 0DH enumerates the state components. */
function xsaveLayout(table: CpuidTable): XsaveLayout {
  const supported = table.find(0xd, 0)?.eax ?? 0;
  const components: (XsaveComponent | undefined)[] = [];
  for (let i = 2; i < MAX_COMPONENTS; i++) {
    const leaf = table.find(0xd, i);
    if (leaf === undefined || leaf.eax === 0) continue;
    components[i] = { offset: leaf.ebx, size: leaf.eax, aligned: (leaf.ecx & XSAVE_ALIGNED) !== 0 };
  }
  return { supported, components };
}
