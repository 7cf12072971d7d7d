import { HostError } from '../errors.ts';
import { capabilities, KVM_CAP_MAX_VCPUS, missingCapabilities } from '../kvm/capabilities.ts';
import { KVM_DEVICE, Kvm } from '../kvm/kvm.ts';
import type { Finding } from './finding.ts';
import type { HostView } from './host-view.ts';

/** Opens /dev/kvm, asks for its capabilities, and creates a virtual machine. */
export function probeKvmDevice(host: HostView): Finding[] {
  let kvm: Kvm;
  try {
    kvm = new Kvm(host.path(KVM_DEVICE));
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return [unusable(host, error)];
  }
  try {
    const findings: Finding[] = [
      {
        group: 'KVM',
        name: KVM_DEVICE,
        state: 'good',
        value: 'opened for reading and writing',
        meaning: 'This user may run virtual machines.',
      },
    ];
    findings.push(probeCapabilities(kvm), probeCreation(kvm));
    return findings;
  } finally {
    kvm.close();
  }
}

function unusable(host: HostView, error: HostError): Finding {
  const common = { group: 'KVM', name: KVM_DEVICE, state: 'bad', value: error.message } as const;
  const owner = host.ownership(KVM_DEVICE);
  if (owner !== undefined && !host.isWritable(KVM_DEVICE)) {
    const name = host.groupName(owner.gid);
    const groupMay = (Number.parseInt(owner.mode, 8) & 0o060) === 0o060;
    return {
      ...common,
      value: `permission denied (mode ${owner.mode}, group ${name})`,
      meaning: 'KVM is there, but this user may not use it.',
      advice:
        groupMay && owner.gid !== 0
          ? `Join its group and log in again: sudo usermod -aG ${name} $USER.`
          : `Give it to a group of yours: sudo chgrp kvm ${KVM_DEVICE} && sudo chmod g+rw ${KVM_DEVICE}, or run mvm as root.`,
    };
  }
  return {
    ...common,
    meaning: 'Without KVM, nothing can run.',
    advice: `${error.hint ?? 'See «kind» above'}.`,
  };
}

function probeCapabilities(kvm: Kvm): Finding {
  const check = (capability: number) => kvm.checkExtension(capability);
  const common = { group: 'KVM', name: 'capabilities' } as const;
  const missing = missingCapabilities(check);
  if (missing.length > 0) {
    return {
      ...common,
      state: 'bad',
      value: `missing: ${missing.map(({ name }) => name).join(', ')}`,
      meaning: `mvm needs ${missing.length === 1 ? 'it' : 'them'} for ${missing.map(({ purpose }) => purpose).join('; ')}.`,
      advice: 'Use a newer kernel: Linux 5.10 has all of them.',
    };
  }
  const absent = capabilities().filter(({ need, number }) => need === 'optional' && check(number) <= 0);
  const all = `all required ones, up to ${check(KVM_CAP_MAX_VCPUS)} vCPUs`;
  if (absent.length === 0)
    return { ...common, state: 'good', value: all, meaning: 'mvm can use all that it knows of.' };
  const list = absent.map(({ name, purpose, without }) => `${name.replace('KVM_CAP_', '')} (${purpose}): ${without}`);
  return {
    ...common,
    state: 'good',
    value: `${all}; ${absent.length} optional ones are not there`,
    meaning: `Not there: ${list.join('; ')}.`,
  };
}

/** Another hypervisor can hold the CPU's virtualization; only a VM shows. */
function probeCreation(kvm: Kvm): Finding {
  const common = { group: 'KVM', name: 'a virtual machine' } as const;
  try {
    kvm.createVm().close();
    return { ...common, state: 'good', value: 'created', meaning: 'KVM works.' };
  } catch (error) {
    return {
      ...common,
      state: 'bad',
      value: error instanceof Error ? error.message : String(error),
      meaning: 'KVM is there, but gives no virtual machine.',
      advice: 'Stop other hypervisors on this host, such as VirtualBox, and look at the kernel log (dmesg).',
    };
  }
}
