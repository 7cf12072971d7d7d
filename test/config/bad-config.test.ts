import test from 'ava';
import { everything, KERNEL, problemsOf } from './support.ts';

/** So many drives. */
const drives = (count: number): string =>
  Array.from({ length: count }, (_, i) => `{"drive_id": "d${i}", "path_on_host": "p", "is_root_device": false}`).join();

const BAD: readonly (readonly [name: string, json: string, expected: readonly string[]])[] = [
  ['no boot source', '{}', ['/boot-source: is missing']],
  ['not an object', '[]', ['1:1: must be an object, not an array']],
  ['null', 'null', ['1:1: must be an object, not null']],
  ['no kernel', '{"boot-source": {}}', ['/boot-source/kernel_image_path: is missing']],
  ['an empty path', '{"boot-source": {"kernel_image_path": ""}}', ['kernel_image_path: must not be empty']],
  ['a path with NUL', '{"boot-source": {"kernel_image_path": "a\\u0000"}}', ['must not hold a NUL character']],
  [
    'a prototype’s key',
    `{${KERNEL}, "constructor": 1, "__proto__": {}}`,
    ['/constructor: unknown key', '/__proto__: unknown key'],
  ],
  ['no vCPU', `{${KERNEL}, "machine-config": {"vcpu_count": 0}}`, ['/vcpu_count: must be at least 1, not 0']],
  ['33 vCPUs', `{${KERNEL}, "machine-config": {"vcpu_count": 33}}`, ['/vcpu_count: must be at most 32, not 33']],
  ['half a vCPU', `{${KERNEL}, "machine-config": {"vcpu_count": 1.5}}`, ['must be a whole number, not 1.5']],
  [
    'odd vCPUs with SMT',
    `{${KERNEL}, "machine-config": {"vcpu_count": 3, "smt": true}}`,
    ['must be 1 or even with smt, not 3'],
  ],
  ['no memory', `{${KERNEL}, "machine-config": {"mem_size_mib": 0}}`, ['/mem_size_mib: must be at least 1, not 0']],
  ['negative memory', `{${KERNEL}, "machine-config": {"mem_size_mib": -1}}`, ['must be at least 1, not -1']],
  [
    'odd memory in huge pages',
    `{${KERNEL}, "machine-config": {"mem_size_mib": 5, "huge_pages": "2M"}}`,
    ['must be even with huge_pages "2M", not 5'],
  ],
  [
    'unknown huge pages',
    `{${KERNEL}, "machine-config": {"huge_pages": "2m"}}`,
    ['must be "None", "Transparent" or "2M", not "2m"; did you mean "2M"?'],
  ],
  [
    'a transport that is none',
    `{${KERNEL}, "machine-config": {"transport": "PCI"}}`,
    ['must be "mmio" or "pci", not "PCI"; did you mean "pci"?'],
  ],
  [
    'more devices than virtio-mmio has room for',
    `{${KERNEL}, "machine-config": {"transport": "mmio"}, "console": {}, "entropy": {}, "drives": [${drives(17)}]}`,
    ['/machine-config/transport: "mmio" has room for 17 virtio devices, not 19; use "pci" (or --transport pci)'],
  ],
  [
    'more devices than a PCI bus has room for',
    `{${KERNEL}, "machine-config": {"transport": "pci"}, "drives": [${drives(32)}]}`,
    ['/machine-config/transport: "pci" has room for 31 virtio devices, not 32; leave some out'],
  ],
  [
    'devices on a bus that the kernel is not to look at',
    `{"boot-source": {"kernel_image_path": "k", "boot_args": "quiet pci=off"}, "machine-config": {"transport": "pci"}, "entropy": {}}`,
    ['/boot-source/boot_args: pci=off hides the virtio devices, which are on PCI; leave off out'],
  ],
  [
    'devices on a bus without interrupts',
    `{"boot-source": {"kernel_image_path": "k", "boot_args": "pci=noacpi,nomsi quiet"}, "machine-config": {"transport": "pci"}, "console": {}}`,
    ['pci=nomsi leaves the virtio devices, which are on PCI, without interrupts; leave nomsi out'],
  ],
  [
    'a level that is none',
    `{${KERNEL}, "logger": {"level": "Loud"}}`,
    ['must be one of Off, Error, Warning, Info, Debug and Trace, not "Loud"'],
  ],
  ['a file mode without a file', `{${KERNEL}, "serial": {"mode": "file"}}`, ['mode "file" needs serial_out_path']],
  [
    'a file for no output',
    `{${KERNEL}, "serial": {"mode": "none", "serial_out_path": "x"}}`,
    ['mode "none" has no use for serial_out_path'],
  ],
  [
    'a virtio console with two ends',
    `{${KERNEL}, "console": {"mode": "stdio", "console_out_path": "x"}}`,
    ['/console/mode: mode "stdio" has no use for console_out_path; leave one of them out'],
  ],
  [
    'a drive of no kind',
    `{${KERNEL}, "drives": [{"drive_id": "a", "is_root_device": false}]}`,
    ['/drives/0: needs path_on_host or socket'],
  ],
  [
    'a drive of both kinds',
    `{${KERNEL}, "drives": [{"drive_id": "a", "is_root_device": false, "socket": "s", "path_on_host": "p", "io_engine": "Sync"}]}`,
    ['/path_on_host: has no use with socket', '/io_engine: has no use with socket'],
  ],
  [
    'two drives of one name',
    `{${KERNEL}, "drives": [{"drive_id": "a", "is_root_device": false, "path_on_host": "p"}, {"drive_id": "a", "is_root_device": false, "path_on_host": "p"}]}`,
    ['/drives/1/drive_id: "a" is taken by /drives/0'],
  ],
  [
    'two root devices',
    `{${KERNEL}, "drives": [{"drive_id": "a", "is_root_device": true, "path_on_host": "p"}], "pmem": [{"id": "b", "path_on_host": "p", "root_device": true}]}`,
    ['/pmem/0/root_device: only one device can be the root device'],
  ],
  [
    'a partition of no root',
    `{${KERNEL}, "drives": [{"drive_id": "a", "is_root_device": false, "path_on_host": "p", "partuuid": "x"}]}`,
    ['/partuuid: is for the root device only'],
  ],
  [
    'two MACs that are one',
    `{${KERNEL}, "network-interfaces": [{"iface_id": "a", "host_dev_name": "t0", "guest_mac": "06:00:AC:10:00:02"}, {"iface_id": "b", "host_dev_name": "t1", "guest_mac": "06:00:ac:10:00:02"}]}`,
    ['/network-interfaces/1/guest_mac: "06:00:ac:10:00:02" is taken'],
  ],
  [
    'a MAC that is none',
    `{${KERNEL}, "network-interfaces": [{"iface_id": "a", "host_dev_name": "t0", "guest_mac": "6:0"}]}`,
    ['must be a MAC address'],
  ],
  [
    'a tap name too long',
    `{${KERNEL}, "network-interfaces": [{"iface_id": "a", "host_dev_name": "abcdefghijklmnop"}]}`,
    ['must be a network device name'],
  ],
  [
    'a network interface that leads nowhere',
    `{${KERNEL}, "network-interfaces": [{"iface_id": "a"}]}`,
    ['/network-interfaces/0: needs host_dev_name (a tap) or passt (a user-mode network)'],
  ],
  [
    'a network interface that leads to two places',
    `{${KERNEL}, "network-interfaces": [{"iface_id": "a", "host_dev_name": "t0", "passt": {}}]}`,
    ['/network-interfaces/0/passt: has no use with host_dev_name; leave one of them out'],
  ],
  [
    'ports for a passt that runs already',
    `{${KERNEL}, "network-interfaces": [{"iface_id": "a", "passt": {"socket": "s", "tcp_ports": ["80"], "udp_ports": ["53"]}}]}`,
    [
      '/passt/tcp_ports: has no use with socket; give the ports to the passt that listens there',
      '/passt/udp_ports: has no use with socket; give the ports to the passt that listens there',
    ],
  ],
  [
    'ports that passt would take for an option',
    `{${KERNEL}, "network-interfaces": [{"iface_id": "a", "passt": {"tcp_ports": ["--fd"], "udp_port": []}}]}`,
    ['/passt/tcp_ports/0: must be ports of the host', '/passt/udp_port: unknown key; did you mean "udp_ports"?'],
  ],
  [
    'an MMDS without its interface',
    `{${KERNEL}, "mmds-config": {"network_interfaces": ["eth1"]}}`,
    ['there is no network interface "eth1"'],
  ],
  [
    'an MMDS with no interface',
    `{${KERNEL}, "mmds-config": {"network_interfaces": []}}`,
    ['must name at least one network interface'],
  ],
  [
    'properties of metrics that are no texts',
    `{${KERNEL}, "metrics": {"metrics_path": "m", "properties": {"a": 1}}}`,
    ['/metrics/properties/a: must be a string, not 1'],
  ],
  [
    'properties of metrics that are a list',
    `{${KERNEL}, "metrics": {"metrics_path": "m", "properties": ["a"]}}`,
    ['/metrics/properties: must be an object, not an array'],
  ],
  [
    'a reserved CID',
    `{${KERNEL}, "vsock": {"guest_cid": 2, "uds_path": "x"}}`,
    ['/guest_cid: must be at least 3, not 2'],
  ],
  ['a CID for any', `{${KERNEL}, "vsock": {"guest_cid": 4294967295, "uds_path": "x"}}`, ['must be at most 4294967294']],
  [
    'a balloon larger than memory',
    `{${KERNEL}, "balloon": {"amount_mib": 129, "deflate_on_oom": false}}`,
    ['must be at most the memory of 128 MiB, not 129'],
  ],
  [
    'odd hotplug sizes',
    `{${KERNEL}, "memory-hotplug": {"total_size_mib": 1000, "slot_size_mib": 129, "block_size_mib": 3}}`,
    ['must be a multiple of slot_size_mib (129), not 1000', 'must be a power of two, not 3'],
  ],
  [
    'a CPU template of the wrong type',
    `{${KERNEL}, "cpu-config": 7}`,
    ['/cpu-config: must be a string or an object, not 7'],
  ],
  [
    'an unknown key in a CPU template',
    `{${KERNEL}, "cpu-config": {"msr_modifier": []}}`,
    ['/cpu-config/msr_modifier: unknown key; did you mean "msr_modifiers"?'],
  ],
  [
    'a bad bitmap',
    `{${KERNEL}, "cpu-config": {"msr_modifiers": [{"addr": "0x1", "bitmap": "0b2"}]}}`,
    ['/bitmap: must be "0b" and up to 64 of 0, 1 and x, not "0b2"'],
  ],
];

for (const [name, json, expected] of BAD) {
  test(`bad configuration: ${name}`, async (t) => {
    const problems = await problemsOf(t, json, { built: everything });
    t.is(problems.length, expected.length, problems.join('\n'));
    for (const part of expected)
      t.true(
        problems.some((line) => line.includes(part)),
        `${part} in ${problems.join('\n')}`,
      );
  });
}
