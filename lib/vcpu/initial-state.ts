import type { InitialCpuState } from '../boot/cpu-state.ts';
import type { KvmVcpu } from '../kvm/vcpu.ts';

/** Puts a boot vCPU where the boot protocol wants it. What the state does not name stays as KVM resets it. */
export function setInitialState(vcpu: KvmVcpu, state: InitialCpuState): void {
  const { rip, rsp, rbp, rsi, rbx, rflags, ...special } = state;
  vcpu.setSregs({ ...vcpu.getSregs(), ...special });
  vcpu.setRegs({ rip, rsp, rbp, rsi, rbx, rflags });
}
