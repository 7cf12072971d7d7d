import { applyCpuidModifiers, type CpuidModifier } from './cpu-template.ts';
import { hideFromPvm, setBrand, setFeatures } from './cpuid/features.ts';
import { setIntelFrequency, setParavirtLeaves } from './cpuid/paravirt.ts';
import { type CpuidEntry, CpuidTable, isAmd } from './cpuid/table.ts';
import { describeTopology, setApicId, topologyOf } from './cpuid/topology.ts';

export type { CpuidEntry } from './cpuid/table.ts';

export interface CpuidOptions {
  /** 1 to 255. */
  readonly vcpuCount: number;
  /** Two threads a core. */
  readonly smt: boolean;
  /** The host's KVM is KVM-PVM: it emulates CPL 0. */
  readonly pvm: boolean;
  /** Of the guest's TSC (`KVM_GET_TSC_KHZ`); 0 where unknown. */
  readonly tscKhz: number;
  /** `KVM_CAP_TSC_DEADLINE_TIMER`. */
  readonly tscDeadlineTimer: boolean;
  /** Of a custom CPU template. They win over mvm's own choices, but for topology, which stays what the machine has. */
  readonly modifiers?: readonly CpuidModifier[];
}

/**
 * What CPUID tells each vCPU, for `KVM_SET_CPUID2`; vCPU n has APIC identifier n.
 *
 * @param supported `KVM_GET_SUPPORTED_CPUID`'s entries
 * @throws ConfigError where a modifier names a leaf that this host's KVM does not have
 */
export function cpuidTables(supported: readonly CpuidEntry[], options: CpuidOptions): CpuidEntry[][] {
  const common = new CpuidTable(supported);
  setFeatures(common, options);
  setBrand(common, options.tscKhz);
  setParavirtLeaves(common, options);
  if (!isAmd(common)) setIntelFrequency(common, options.tscKhz);
  if (options.pvm) hideFromPvm(common);
  applyCpuidModifiers(common, options.modifiers ?? []);
  const topology = topologyOf(options.vcpuCount, options.smt);
  describeTopology(common, topology);
  return Array.from({ length: options.vcpuCount }, (_, apicId) => {
    const table = new CpuidTable(common.entries);
    setApicId(table, topology, apicId);
    return [...table.entries];
  });
}
