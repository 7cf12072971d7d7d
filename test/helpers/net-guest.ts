import { writeFileSync } from 'node:fs';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { ip } from './net-namespace.ts';
import { Program } from './program.ts';

export const TAP = 'tap0';
export const GUEST_MAC = '06:00:00:00:00:02';

/** Frames that the kernel keeps for whoever reads the tap, and bytes of the longest one but for its Ethernet header. */
export interface TapOptions {
  readonly queueLength?: number;
  readonly mtu?: number;
}

/** Makes the tap in this process's network namespace, which nobody on the host talks on by himself. It goes with the namespace. */
export function makeTap({ queueLength = 1000, mtu = 1500 }: TapOptions = {}): void {
  ip('tuntap', 'add', 'dev', TAP, 'mode', 'tap', 'vnet_hdr');
  ip('link', 'set', TAP, 'addrgenmode', 'none');
  ip('link', 'set', TAP, 'txqueuelen', String(queueLength), 'mtu', String(mtu), 'up');
}

export interface NetGuestOptions {
  /** Where the configuration is written. */
  readonly config: string;
  readonly transport?: 'mmio' | 'pci';
  /** The guest's parameters: see fixtures/bare-metal/guests/net. */
  readonly cmdline: string;
  /** More of Firecracker's keys of a network interface. */
  readonly network?: Readonly<Record<string, unknown>>;
}

/** Writes the configuration of a machine in which the bare-metal guest `net` drives a network on the tap. @returns arguments for mvm */
export function netGuestArguments({ config, transport = 'mmio', cmdline, network }: NetGuestOptions): string[] {
  const machine = {
    'boot-source': { kernel_image_path: buildGuest('net'), boot_args: cmdline },
    'machine-config': { vcpu_count: 1, mem_size_mib: 128 },
    'network-interfaces': [{ iface_id: 'eth0', host_dev_name: TAP, guest_mac: GUEST_MAC, ...network }],
  };
  writeFileSync(config, JSON.stringify(machine));
  return ['run', '--transport', transport, config];
}

/** The host's end: test/bench/lib/net-peer.c. */
export class NetPeer extends Program {
  constructor(...args: readonly string[]) {
    super('net-peer', [TAP, ...args]);
  }
}
