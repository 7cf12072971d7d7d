import { HostError } from '../errors.ts';
import { O_CLOEXEC, O_RDWR } from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { tryCall } from '../ffi/libc.ts';
import { ioctl, ioctlRead } from './ioctl.ts';
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_GET_API_VERSION,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_VCPU_MMAP_SIZE,
} from './ioctls.ts';
import { readList, viewOf } from './layout.ts';
import { kvm_cpuid_entry2, kvm_cpuid2 } from './structs.ts';
import { Vm } from './vm.ts';

export const KVM_DEVICE = '/dev/kvm';
/** The only version that KVM has had since Linux 2.6.22; api.rst says to refuse any other. */
const KVM_API_VERSION = 12;
/** `KVM_MAX_CPUID_ENTRIES` of Linux. */
const MAX_CPUID_ENTRIES = 256;

/** What to do when opening /dev/kvm fails, by errno. */
const OPEN_HINTS: Record<string, string> = {
  ENOENT: 'load the module kvm_intel, kvm_amd or kvm_pvm, or enable nested virtualization; `mvm doctor` tells more',
  ENODEV: 'the KVM module is not loaded; `mvm doctor` tells more',
  EACCES: 'add yourself to the group that owns it (often `sudo usermod -aG kvm $USER`), then log in again',
  EPERM: 'the sandbox or container that mvm runs in forbids it; pass the device on to it',
};

/** `/dev/kvm`. */
export class Kvm {
  readonly fd: number;

  /** @throws HostError when /dev/kvm is not there, not permitted, or not KVM */
  constructor(path = KVM_DEVICE) {
    this.fd = tryCall('open', path, O_RDWR | O_CLOEXEC, 0);
    if (this.fd < 0) {
      const code = errnoName(-this.fd);
      throw new HostError(`cannot open ${path} (${code})`, { hint: OPEN_HINTS[code] ?? '`mvm doctor` tells more' });
    }
    const version = tryCall('ioctl', this.fd, KVM_GET_API_VERSION, 0);
    if (version !== KVM_API_VERSION) {
      this.close();
      throw new HostError(`${path} is not KVM (its API version is ${version}, not ${KVM_API_VERSION})`);
    }
  }

  /** `KVM_CHECK_EXTENSION`: 0 where the capability is absent. */
  checkExtension(capability: number): number {
    return ioctl(this.fd, KVM_CHECK_EXTENSION, capability, 'ask KVM for a capability');
  }

  createVm(): Vm {
    return new Vm(ioctl(this.fd, KVM_CREATE_VM, 0, 'create a virtual machine'));
  }

  /** Bytes of each vCPU's shared area (`kvm_run` and what follows it). */
  get vcpuMmapSize(): number {
    return ioctl(this.fd, KVM_GET_VCPU_MMAP_SIZE, 0, "ask for the size of a vCPU's shared area");
  }

  /** `KVM_GET_SUPPORTED_CPUID`: the leaves that host and KVM can give a guest. */
  get supportedCpuid() {
    const header = kvm_cpuid2.encode({ nent: MAX_CPUID_ENTRIES });
    const size = kvm_cpuid2.size + MAX_CPUID_ENTRIES * kvm_cpuid_entry2.size;
    const data = ioctlRead(
      this.fd,
      KVM_GET_SUPPORTED_CPUID,
      size,
      'ask for the CPUID leaves that KVM supports',
      header,
    );
    return readList(kvm_cpuid2, 'entries', kvm_cpuid_entry2, kvm_cpuid2.get(viewOf(data), 'nent'), data);
  }

  close(): void {
    tryCall('close', this.fd);
  }
}
