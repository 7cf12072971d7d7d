import type { Finding } from './finding.ts';
import type { HostView } from './host-view.ts';

/** Which KVM a host has: `vmx` (Intel), `svm` (AMD), `pvm` (pagetable-based, without help of the CPU). */
export type KvmKind = 'vmx' | 'svm' | 'pvm' | 'none';

/** The CPU as /proc/cpuinfo describes it. */
export interface CpuFacts {
  readonly model: string;
  readonly flags: ReadonlySet<string>;
  /** This host is itself a virtual machine. */
  readonly isVirtual: boolean;
}

export function cpuFacts(host: HostView): CpuFacts {
  const info = host.read('/proc/cpuinfo') ?? '';
  const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(.*)$`, 'm').exec(info)?.[1]?.trim();
  const flags = new Set((field('flags') ?? '').split(/\s+/));
  return { model: field('model name') ?? 'unknown CPU', flags, isVirtual: flags.has('hypervisor') };
}

/** By the modules that are loaded (they are listed too where they are built in), PVM first: it can be beside another. */
export function kvmKind(host: HostView): KvmKind {
  if (host.exists('/sys/module/kvm_pvm')) return 'pvm';
  if (host.exists('/sys/module/kvm_intel')) return 'vmx';
  if (host.exists('/sys/module/kvm_amd')) return 'svm';
  return 'none';
}

/** Says which KVM this is, and how fast guests will be. */
export function probeKvmKind(host: HostView): Finding[] {
  const cpu = cpuFacts(host);
  const kind = kvmKind(host);
  const group = 'KVM';
  const findings: Finding[] = [
    {
      group,
      name: 'CPU',
      state: 'info',
      value: cpu.model,
      meaning: cpu.isVirtual ? 'This host is itself a virtual machine.' : 'This host is a physical machine.',
    },
  ];
  if (kind === 'none') {
    findings.push({ group, name: 'kind', state: 'bad', value: 'none', ...whyNone(cpu) });
    return findings;
  }
  if (kind === 'pvm') {
    findings.push({
      group,
      name: 'kind',
      state: 'fair',
      value: 'PVM (pagetable-based)',
      meaning:
        "It needs no VMX or SVM: a guest's user space runs at full speed, its kernel is emulated and slow, and stock kernels may stop.",
      advice: "Use a kernel built for it, such as the demo's, or a host with VMX or SVM.",
    });
    return findings;
  }
  findings.push(hardwareKind(host, kind, cpu));
  return findings;
}

function hardwareKind(host: HostView, kind: 'vmx' | 'svm', cpu: CpuFacts): Finding {
  const [module, paging, name] =
    kind === 'vmx' ? (['kvm_intel', 'ept', 'VMX'] as const) : (['kvm_amd', 'npt', 'SVM'] as const);
  const hasPaging = isYes(host.read(`/sys/module/${module}/parameters/${paging}`));
  const isNested = cpu.isVirtual;
  const value = `${name}${isNested ? ', nested' : ''}${hasPaging ? '' : `, without ${paging.toUpperCase()}`}`;
  const common = { group: 'KVM', name: 'kind', value } as const;
  if (!hasPaging) {
    return {
      ...common,
      state: 'fair',
      meaning: 'The host keeps shadow page tables for each guest, so guests that change mappings often are slow.',
      advice: `Load ${module} with ${paging}=1, if the CPU has it.`,
    };
  }
  if (isNested) {
    return {
      ...common,
      state: 'good',
      meaning: 'Guests run on the CPU itself, but each exit passes through the hypervisor below: I/O is slower.',
    };
  }
  return { ...common, state: 'good', meaning: 'Guests run on the CPU itself, at full speed.' };
}

function isYes(parameter: string | undefined): boolean {
  return parameter === 'Y' || parameter === '1';
}

function whyNone(cpu: CpuFacts): Pick<Finding, 'meaning' | 'advice'> {
  const module = cpu.flags.has('vmx') ? 'kvm_intel' : cpu.flags.has('svm') ? 'kvm_amd' : undefined;
  if (module !== undefined) {
    return {
      meaning: 'The CPU can virtualize, but the KVM module for it is not loaded.',
      advice: `Load it: sudo modprobe ${module} (where that fails, virtualization may be off in the firmware).`,
    };
  }
  return {
    meaning: 'The CPU shows neither VMX nor SVM, and no KVM module is loaded.',
    advice: cpu.isVirtual
      ? 'Enable nested virtualization for this virtual machine, or load kvm_pvm, which needs none.'
      : 'Switch virtualization on in the firmware (VT-x or AMD-V).',
  };
}
