import type { InitialCpuState } from '../boot/cpu-state.ts';
import type { MachineConfig } from '../config/types.ts';
import { KVM_CAP_TSC_DEADLINE_TIMER } from '../kvm/capabilities.ts';
import { type CpuidOptions, cpuidTables } from '../kvm/cpuid.ts';
import { isPvm } from '../kvm/flavour.ts';
import { BOOT_FPU } from '../kvm/fpu.ts';
import type { Kvm } from '../kvm/kvm.ts';
import { virtualWireLapic } from '../kvm/lapic.ts';
import { bootMsrs } from '../kvm/msrs.ts';
import { KvmVcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import type { CpuFacts } from '../vcpu/cpu-context.ts';
import { cpuFacts } from '../vcpu/cpu-facts.ts';
import { setInitialState } from '../vcpu/initial-state.ts';

/** Creates the vCPUs, vCPU 0 ready to run the guest's first instruction; the others wait for INIT and SIPI. */
export function createVcpus(
  kvm: Kvm,
  vm: Vm,
  config: MachineConfig,
  modifiers: CpuidOptions['modifiers'],
  state: InitialCpuState,
): { vcpus: KvmVcpu[]; facts: CpuFacts } {
  const mmapSize = kvm.vcpuMmapSize;
  const vcpus = Array.from({ length: config.vcpuCount }, (_, id) => new KvmVcpu(id, vm.createVcpu(id), mmapSize));
  const boot = vcpus[0]!;
  const tables = cpuidTables(kvm.supportedCpuid, {
    vcpuCount: config.vcpuCount,
    smt: config.smt,
    pvm: isPvm(),
    tscKhz: boot.getTscKhz(),
    tscDeadlineTimer: kvm.checkExtension(KVM_CAP_TSC_DEADLINE_TIMER) !== 0,
    ...(modifiers === undefined ? {} : { modifiers }),
  });
  const msrs = bootMsrs();
  for (const vcpu of vcpus) {
    vcpu.setCpuid2(tables[vcpu.id]!);
    vcpu.setMsrs(msrs);
    vcpu.setFpu(BOOT_FPU);
  }
  boot.setLapic(virtualWireLapic(boot.getLapic()));
  setInitialState(boot, state);
  return { vcpus, facts: cpuFacts(tables[0]!) };
}
