import { spawnSync } from 'node:child_process';
import { requireCommand } from './programs.ts';

export interface MicrovmOptions {
  readonly kernel: string;
  readonly cmdline?: string;
  /** MiB; default 128. */
  readonly memory?: number;
  /** More arguments: devices and what is behind them. */
  readonly devices?: readonly string[];
}

let cpu: string | undefined;

/**
 * The command line of QEMU's machine `microvm`, as QEMU's own advice for short starts has it (its documentation, "microvm", "Example"), with
 * nothing that the guests do not use; virtio-mmio is that of virtio 1.0. QEMU is installed where it is missing.
 */
export function microvm(options: MicrovmOptions): string[] {
  requireCommand('qemu-system-x86_64', 'qemu-system-x86');
  cpu ??= workingCpu(options.kernel);
  return commandLine(options, cpu);
}

function commandLine({ kernel, cmdline, memory = 128, devices = [] }: MicrovmOptions, cpu: string): string[] {
  return [
    'qemu-system-x86_64',
    ...['-M', 'microvm,x-option-roms=off,pit=off,pic=off,rtc=off', '-enable-kvm', '-cpu', cpu],
    ...[
      '-m',
      String(memory),
      '-smp',
      '1',
      '-nodefaults',
      '-no-user-config',
      '-nographic',
      '-serial',
      'stdio',
      '-no-reboot',
    ],
    ...(devices.length === 0 ? [] : ['-global', 'virtio-mmio.force-legacy=false', ...devices]),
    ...['-kernel', kernel],
    ...(cmdline === undefined ? [] : ['-append', cmdline]),
  ];
}

/** QEMU 7.2 fails an assertion with `-cpu host` where KVM lists an MSR that it does not take (KVM-PVM does). */
function workingCpu(kernel: string): string {
  for (const candidate of ['host', 'host,-arch-capabilities']) {
    // Any guest that ends by itself will do: one with devices says that there are none.
    const [command, ...args] = commandLine({ kernel }, candidate);
    if (spawnSync(command!, args, { stdio: 'ignore', timeout: 20_000 }).status === 0) return candidate;
  }
  throw new Error('QEMU does not boot the guest on this host');
}
