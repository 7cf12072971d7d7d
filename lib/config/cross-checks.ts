import { kernelParameters } from '../boot/cmdline.ts';
import { VIRTIO_MMIO_GSIS } from '../memory/ports.ts';
import type { JsonPath } from './json.ts';
import type { PathProblem } from './problems.ts';
import type { FileConfig } from './schema.ts';
import { DEFAULT_TRANSPORT, type Transport } from './types.ts';

type Report = (path: JsonPath, message: string, hint?: string) => void;

/** Rules between keys, each of which is valid by itself; Firecracker has the same ones. */
export function crossCheck(config: FileConfig): PathProblem[] {
  const problems: PathProblem[] = [];
  const report: Report = (path, message, hint) =>
    problems.push(hint === undefined ? { path, message } : { path, message, hint });
  checkMachine(config, report);
  checkConsole('serial', config.serial?.mode, 'serial_out_path', config.serial?.serial_out_path, report);
  checkConsole('console', config.console?.mode, 'console_out_path', config.console?.console_out_path, report);
  checkDrives(config, report);
  checkNetwork(config, report);
  checkMemoryDevices(config, report);
  checkTransport(config, report);
  return problems;
}

function checkMachine({ 'machine-config': machine }: FileConfig, report: Report): void {
  if (!machine) return;
  const { vcpu_count: vcpus, mem_size_mib: memory } = machine;
  if (machine.smt && vcpus > 1 && vcpus % 2 === 1) {
    report(['machine-config', 'vcpu_count'], `must be 1 or even with smt, not ${vcpus}`);
  }
  if (machine.huge_pages === '2M' && memory % 2 === 1) {
    report(['machine-config', 'mem_size_mib'], `must be even with huge_pages "2M", not ${memory}`);
  }
}

function checkConsole(
  section: string,
  mode: string | null | undefined,
  key: string,
  path: string | null | undefined,
  report: Report,
): void {
  if (!mode) return;
  if (mode === 'file' && !isGiven(path)) report([section, 'mode'], `mode "file" needs ${key}`);
  if (mode !== 'file' && isGiven(path)) {
    report([section, 'mode'], `mode "${mode}" has no use for ${key}`, 'leave one of them out');
  }
}

function checkDrives({ drives, pmem }: FileConfig, report: Report): void {
  reportRepeated('drives', 'drive_id', drives ?? [], report);
  reportRepeated('pmem', 'id', pmem ?? [], report);
  const roots: JsonPath[] = [];
  for (const [index, drive] of (drives ?? []).entries()) {
    const at = ['drives', index] as const;
    if (drive.is_root_device) roots.push([...at, 'is_root_device']);
    else if (isGiven(drive.partuuid)) report([...at, 'partuuid'], 'is for the root device only');
    if (isGiven(drive.socket)) {
      // Firecracker tells the two kinds of drive apart by these keys.
      for (const key of ['path_on_host', 'is_read_only', 'io_engine', 'rate_limiter'] as const) {
        if (isGiven(drive[key])) report([...at, key], 'has no use with socket', 'leave it out');
      }
    } else if (!isGiven(drive.path_on_host)) report(at, 'needs path_on_host or socket');
  }
  for (const [index, device] of (pmem ?? []).entries()) {
    if (device.root_device) roots.push(['pmem', index, 'root_device']);
  }
  for (const path of roots.slice(1)) report(path, 'only one device can be the root device');
}

function checkNetwork(config: FileConfig, report: Report): void {
  const interfaces = config['network-interfaces'] ?? [];
  reportRepeated('network-interfaces', 'iface_id', interfaces, report);
  reportRepeated('network-interfaces', 'guest_mac', interfaces, report);
  for (const [index, { host_dev_name: tap, passt }] of interfaces.entries()) {
    const at = ['network-interfaces', index] as const;
    if (!isGiven(tap) && !isGiven(passt)) report(at, 'needs host_dev_name (a tap) or passt (a user-mode network)');
    if (isGiven(tap) && isGiven(passt)) {
      report([...at, 'passt'], 'has no use with host_dev_name', 'leave one of them out');
    }
    if (!isGiven(passt?.socket)) continue;
    for (const key of ['tcp_ports', 'udp_ports'] as const) {
      const hint = 'give the ports to the passt that listens there';
      if (isGiven(passt[key])) report([...at, 'passt', key], 'has no use with socket', hint);
    }
  }
  for (const [index, name] of (config['mmds-config']?.network_interfaces ?? []).entries()) {
    if (interfaces.some((candidate) => candidate.iface_id === name)) continue;
    report(['mmds-config', 'network_interfaces', index], `there is no network interface ${JSON.stringify(name)}`);
  }
}

function checkMemoryDevices(config: FileConfig, report: Report): void {
  const memory = config['machine-config']?.mem_size_mib ?? 128;
  const { balloon, 'memory-hotplug': hotplug } = config;
  if (balloon && balloon.amount_mib > memory) {
    report(['balloon', 'amount_mib'], `must be at most the memory of ${memory} MiB, not ${balloon.amount_mib}`);
  }
  if (!hotplug) return;
  const { total_size_mib: total, slot_size_mib: slot, block_size_mib: block } = hotplug;
  if ((block & (block - 1)) !== 0) report(['memory-hotplug', 'block_size_mib'], `must be a power of two, not ${block}`);
  else if (slot % block !== 0) {
    report(['memory-hotplug', 'slot_size_mib'], `must be a multiple of block_size_mib (${block}), not ${slot}`);
  }
  if (total % slot !== 0) {
    report(['memory-hotplug', 'total_size_mib'], `must be a multiple of slot_size_mib (${slot}), not ${total}`);
  }
}

/** How many virtio devices fit. A PCI bus has 32 devices, one of which is the host bridge. */
const ROOM: Readonly<Record<Transport, number>> = { mmio: VIRTIO_MMIO_GSIS.length, pci: 31 };

/** What Linux's `pci=` can do to virtio devices, which have no interrupts but MSI-X. */
const UNFIT_FOR_PCI: ReadonlyMap<string, string> = new Map([
  ['off', 'hides the virtio devices, which are on PCI'],
  ['nomsi', 'leaves the virtio devices, which are on PCI, without interrupts'],
]);

function checkTransport(config: FileConfig, report: Report): void {
  const { drives, 'network-interfaces': interfaces, pmem, vsock, entropy, balloon } = config;
  const console = config.console?.mode === 'none' ? undefined : config.console;
  const single = [console, vsock, entropy, balloon, config['memory-hotplug']].filter(isGiven);
  const count = [drives, interfaces, pmem, single].reduce((sum, list) => sum + (list?.length ?? 0), 0);
  const transport = config['machine-config']?.transport ?? DEFAULT_TRANSPORT;
  if (count > ROOM[transport]) {
    const hint = count > ROOM.pci ? 'leave some out' : `use "pci" (or --transport pci), which has room for ${ROOM.pci}`;
    const message = `"${transport}" has room for ${ROOM[transport]} virtio devices, not ${count}`;
    report(['machine-config', 'transport'], message, hint);
  }
  if (transport !== 'pci' || count === 0) return;
  for (const parameter of kernelParameters(config['boot-source'].boot_args ?? '')) {
    if (!parameter.startsWith('pci=')) continue;
    for (const option of parameter.slice(4).split(',')) {
      const effect = UNFIT_FOR_PCI.get(option);
      if (effect === undefined) continue;
      const hint = `leave ${option} out, or use --transport mmio`;
      report(['boot-source', 'boot_args'], `pci=${option} ${effect}`, hint);
    }
  }
}

function reportRepeated<K extends string>(
  section: string,
  key: K,
  items: readonly { readonly [P in K]?: string | null | undefined }[],
  report: Report,
): void {
  const first = new Map<string, number>();
  for (const [index, item] of items.entries()) {
    const value: string | null | undefined = item[key];
    if (!isGiven(value)) continue;
    const name = value.toLowerCase();
    const earlier = first.get(name);
    if (earlier === undefined) first.set(name, index);
    else report([section, index, key], `${JSON.stringify(value)} is taken by /${section}/${earlier}`);
  }
}

function isGiven<T>(value: T): value is NonNullable<T> {
  return value !== undefined && value !== null;
}
