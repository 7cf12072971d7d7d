import { MAP_FIXED, MAP_SHARED, PROT_READ, PROT_WRITE } from '../ffi/constants.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { ioctlBytes, ioctlCount, ioctlRead } from './ioctl.ts';
import {
  KVM_GET_DEBUGREGS,
  KVM_GET_FPU,
  KVM_GET_LAPIC,
  KVM_GET_MP_STATE,
  KVM_GET_MSRS,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_GET_TSC_KHZ,
  KVM_GET_VCPU_EVENTS,
  KVM_GET_XCRS,
  KVM_GET_XSAVE,
  KVM_KVMCLOCK_CTRL,
  KVM_SET_CPUID2,
  KVM_SET_DEBUGREGS,
  KVM_SET_FPU,
  KVM_SET_LAPIC,
  KVM_SET_MP_STATE,
  KVM_SET_MSRS,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_VCPU_EVENTS,
  KVM_SET_XCRS,
  KVM_SET_XSAVE,
} from './ioctls.ts';
import { encodeList, type Input, viewOf } from './layout.ts';
import {
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_debugregs,
  kvm_fpu,
  kvm_lapic_state,
  kvm_mp_state,
  kvm_msr_entry,
  kvm_msrs,
  kvm_regs,
  kvm_run,
  kvm_sregs,
  kvm_vcpu_events,
  kvm_xcrs,
  kvm_xsave,
} from './structs.ts';

const PAGE_SIZE = 4096;

/** A vCPU of KVM: its descriptor, its shared area as a view, and one method for each ioctl that mvm uses. */
export class KvmVcpu {
  readonly id: number;
  readonly fd: number;
  /** The area shared with KVM, `struct kvm_run` first: KVM writes it during `KVM_RUN` only. */
  readonly run: NativeBuffer;

  /** @param mmapSize from `Kvm.vcpuMmapSize` */
  constructor(id: number, fd: number, mmapSize: number) {
    this.id = id;
    this.fd = fd;
    this.run = new NativeBuffer(mmapSize, PAGE_SIZE);
    const protection = PROT_READ | PROT_WRITE;
    call('mmap', `map vCPU ${id}`, this.run.address, mmapSize, protection, MAP_SHARED | MAP_FIXED, fd, 0);
  }

  /** `kvm_run.immediate_exit`: while set, `KVM_RUN` returns EINTR at once. */
  set immediateExit(value: boolean) {
    this.run.bytes[kvm_run.offset.immediate_exit] = Number(value);
  }

  setCpuid2(entries: readonly Input<typeof kvm_cpuid_entry2>[]): void {
    const argument = encodeList(kvm_cpuid2, 'entries', { nent: entries.length }, kvm_cpuid_entry2, entries);
    ioctlBytes(this.fd, KVM_SET_CPUID2, argument, `set the CPUID leaves of vCPU ${this.id}`);
  }

  /** @throws SystemError saying which MSR, by its place, KVM refused */
  setMsrs(entries: readonly Input<typeof kvm_msr_entry>[]): void {
    const argument = encodeList(kvm_msrs, 'entries', { nmsrs: entries.length }, kvm_msr_entry, entries);
    ioctlCount(this.fd, KVM_SET_MSRS, argument, entries.length, `set the model-specific registers of vCPU ${this.id}`);
  }

  /** The frequency of the guest's time stamp counter in kHz; 0 where KVM does not tell. */
  getTscKhz(): number {
    return Math.max(0, tryCall('ioctl', this.fd, KVM_GET_TSC_KHZ, 0));
  }

  /** One MSR; 0 where KVM does not know it. */
  getMsr(index: number): bigint {
    const argument = encodeList(kvm_msrs, 'entries', { nmsrs: 1 }, kvm_msr_entry, [{ index }]);
    const purpose = `read model-specific register 0x${index.toString(16)} of vCPU ${this.id}`;
    const answer = ioctlRead(this.fd, KVM_GET_MSRS, argument.length, purpose, argument);
    return kvm_msr_entry.get(viewOf(answer), 'data', kvm_msrs.size);
  }

  /** XCR0, 0 being the only extended control register that KVM has. */
  getXcr0(): bigint {
    return kvm_xcrs.decode(this.#read(KVM_GET_XCRS, kvm_xcrs.size)).xcrs[0]!.value;
  }

  setXcr0(value: bigint): void {
    this.#write(KVM_SET_XCRS, kvm_xcrs.encode({ nr_xcrs: 1, xcrs: [{ xcr: 0, value }] }));
  }

  getDebugregs() {
    return kvm_debugregs.decode(this.#read(KVM_GET_DEBUGREGS, kvm_debugregs.size));
  }

  setDebugregs(registers: Input<typeof kvm_debugregs>): void {
    this.#write(KVM_SET_DEBUGREGS, kvm_debugregs.encode(registers));
  }

  getRegs() {
    return kvm_regs.decode(this.#read(KVM_GET_REGS, kvm_regs.size));
  }

  setRegs(regs: Input<typeof kvm_regs>): void {
    this.#write(KVM_SET_REGS, kvm_regs.encode(regs));
  }

  getSregs() {
    return kvm_sregs.decode(this.#read(KVM_GET_SREGS, kvm_sregs.size));
  }

  setSregs(sregs: Input<typeof kvm_sregs>): void {
    this.#write(KVM_SET_SREGS, kvm_sregs.encode(sregs));
  }

  /** `getSregs` without decoding: `struct kvm_sregs` into `target`. */
  readSregs(target: Uint8Array): void {
    target.set(this.#read(KVM_GET_SREGS, kvm_sregs.size));
  }

  /** `setSregs` from a whole `struct kvm_sregs`. */
  writeSregs(source: Uint8Array): void {
    this.#write(KVM_SET_SREGS, source);
  }

  getFpu() {
    return kvm_fpu.decode(this.#read(KVM_GET_FPU, kvm_fpu.size));
  }

  setFpu(fpu: Input<typeof kvm_fpu>): void {
    this.#write(KVM_SET_FPU, kvm_fpu.encode(fpu));
  }

  /** The XSAVE area in its standard format, 4 KiB. */
  getXsave(): Uint8Array<ArrayBuffer> {
    return this.#read(KVM_GET_XSAVE, kvm_xsave.size);
  }

  setXsave(area: Uint8Array): void {
    this.#write(KVM_SET_XSAVE, area);
  }

  /** The local APIC's register page, 1 KiB. */
  getLapic(): Uint8Array<ArrayBuffer> {
    return this.#read(KVM_GET_LAPIC, kvm_lapic_state.size);
  }

  setLapic(registers: Uint8Array): void {
    this.#write(KVM_SET_LAPIC, registers);
  }

  getVcpuEvents() {
    return kvm_vcpu_events.decode(this.#read(KVM_GET_VCPU_EVENTS, kvm_vcpu_events.size));
  }

  setVcpuEvents(events: Input<typeof kvm_vcpu_events>): void {
    this.#write(KVM_SET_VCPU_EVENTS, kvm_vcpu_events.encode(events));
  }

  /** `KVM_MP_STATE_*`. */
  getMpState(): number {
    return kvm_mp_state.decode(this.#read(KVM_GET_MP_STATE, kvm_mp_state.size)).mp_state;
  }

  setMpState(state: number): void {
    this.#write(KVM_SET_MP_STATE, kvm_mp_state.encode({ mp_state: state }));
  }

  /** Tells the guest's soft-lockup watchdog that it was stopped; KVM refuses with EINVAL where kvm-clock is not in use. */
  notifyPaused(): void {
    tryCall('ioctl', this.fd, KVM_KVMCLOCK_CTRL, 0);
  }

  close(): void {
    tryCall('close', this.fd);
  }

  #read(request: number, size: number): Uint8Array<ArrayBuffer> {
    return ioctlRead(this.fd, request, size, `read the registers of vCPU ${this.id}`);
  }

  #write(request: number, argument: Uint8Array): void {
    ioctlBytes(this.fd, request, argument, `set the registers of vCPU ${this.id}`);
  }
}
