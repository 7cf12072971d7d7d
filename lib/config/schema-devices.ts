import * as v from 'valibot';
import {
  about,
  flag,
  integer,
  list,
  MAX_MIB,
  MAX_U32,
  matching,
  oneOf,
  path,
  rateLimited,
  resourceId,
  text,
  UNIX_PATH_HINT,
} from './schema-parts.ts';

// The sections of devices; schema.ts says what the whole is.

export const drive = v.strictObject({
  drive_id: resourceId({
    title: 'Name',
    description: 'Names the drive in messages and in the API.',
    examples: ['rootfs'],
  }),
  is_root_device: flag({
    title: 'Root device',
    description: 'The guest’s root file system is here. At most one drive.',
  }),
  partuuid: v.nullish(
    text({ title: 'Root partition', description: 'The PARTUUID of the root partition; only with is_root_device.' }),
  ),
  cache_type: v.nullish(
    oneOf(['Unsafe', 'Writeback'], {
      title: 'Cache',
      description: 'Writeback offers the guest a flush request and honours it; Unsafe does not.',
    }),
    'Unsafe',
  ),
  path_on_host: v.nullish(
    path({ title: 'File', description: 'The image file or block device. Not with socket.', examples: ['rootfs.ext4'] }),
  ),
  is_read_only: v.nullish(flag({ title: 'Read only', description: 'The guest cannot write. Not with socket.' })),
  io_engine: v.nullish(
    oneOf(['Sync', 'Async'], { title: 'I/O engine', description: 'Async uses io_uring. Not with socket.' }),
  ),
  rate_limiter: rateLimited('Limits the drive. Not with socket.'),
  socket: v.nullish(
    path({ title: 'vhost-user socket', description: `The socket of a vhost-user-block process. ${UNIX_PATH_HINT}` }),
  ),
});

/** A port specification of passt(1) is told apart from an option by its first character; passt itself checks the rest. */
const forwardedPorts = (protocol: string, examples: readonly string[]) =>
  list(
    matching(
      /^[A-Za-z0-9.:%/~_,[\]][A-Za-z0-9.:%/~_,[\]-]*$/,
      'ports of the host as "8080:80" or "127.0.0.1/8022:22"',
      {
        title: 'Ports',
        description: 'A port of the host, and after a colon the guest’s where it is another one: see -t in passt(1).',
      },
    ),
    {
      title: `${protocol} ports`,
      description: `${protocol} ports of the host that lead to the guest.`,
      examples: [examples],
    },
  );

const passt = v.strictObject({
  tcp_ports: v.nullish(forwardedPorts('TCP', ['8080:80'])),
  udp_ports: v.nullish(forwardedPorts('UDP', ['5353:53'])),
  socket: v.nullish(
    path({
      title: 'Unix socket',
      description: `Of a passt that runs already (passt --socket PATH). Not with ports: it was given them. ${UNIX_PATH_HINT}`,
      examples: ['passt.sock'],
    }),
  ),
});

export const networkInterface = v.strictObject({
  iface_id: resourceId({
    title: 'Name',
    description: 'Names the interface in messages and in the API.',
    examples: ['eth0'],
  }),
  // IFNAMSIZ is 16 with the final NUL; what a name may hold is dev_valid_name() of net/core/dev.c.
  host_dev_name: v.nullish(
    matching(/^(?!\.{1,2}$)[^\s/:\0]{1,15}$/, 'a network device name of 1 to 15 characters', {
      title: 'Tap device',
      description:
        'The name of a tap device on the host. Where there is none, mvm makes it (with CAP_NET_ADMIN), and it goes with mvm.',
      examples: ['tap0'],
    }),
  ),
  passt: v.nullish(
    v.pipe(
      passt,
      v.title('passt'),
      v.description('mvm’s addition, instead of host_dev_name: a user-mode network, without privileges.'),
    ),
  ),
  guest_mac: v.nullish(
    matching(/^[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}$/, 'a MAC address such as "06:00:ac:10:00:02"', {
      title: 'MAC address',
      description: 'The guest’s hardware address.',
      examples: ['06:00:ac:10:00:02'],
    }),
  ),
  mtu: v.nullish(
    integer(68, 65535, {
      title: 'MTU',
      description: 'Announced to the guest (VIRTIO_NET_F_MTU).',
      unit: 'bytes',
      examples: [1500],
    }),
  ),
  rx_rate_limiter: rateLimited('Limits what the guest receives.'),
  tx_rate_limiter: rateLimited('Limits what the guest sends.'),
});

export const vsock = v.strictObject({
  // 2³²−1 is VMADDR_CID_ANY, 0 to 2 are reserved (vsock(7)).
  guest_cid: integer(3, MAX_U32 - 1, { title: 'Context id', description: 'The guest’s vsock address.', examples: [3] }),
  uds_path: path({
    title: 'Unix socket',
    description: `mvm listens here for the host; the guest’s port N is PATH_N. ${UNIX_PATH_HINT}`,
    examples: ['vm.vsock'],
  }),
  vsock_id: v.nullish(text({ title: 'Name', description: 'Deprecated in Firecracker; has no effect.' })),
});

export const entropy = v.strictObject({ rate_limiter: rateLimited('Limits what the guest reads.') });

export const balloon = v.strictObject({
  amount_mib: integer(0, MAX_MIB, {
    title: 'Target size',
    description: 'Memory taken back from the guest.',
    unit: 'MiB',
    examples: [64],
  }),
  deflate_on_oom: flag({ title: 'Deflate on OOM', description: 'Give memory back when the guest runs out of it.' }),
  stats_polling_interval_s: v.nullish(
    integer(0, 0xffff, { title: 'Statistics interval', description: '0: no statistics.', unit: 's' }),
    0,
  ),
  free_page_hinting: v.nullish(
    flag({ title: 'Free page hinting', description: 'VIRTIO_BALLOON_F_FREE_PAGE_HINT.' }),
    false,
  ),
  free_page_reporting: v.nullish(
    flag({ title: 'Free page reporting', description: 'VIRTIO_BALLOON_F_PAGE_REPORTING.' }),
    false,
  ),
});

export const mmdsConfig = v.strictObject({
  version: v.nullish(oneOf(['V1', 'V2'], { title: 'Version', description: 'V2 wants a session token.' }), 'V1'),
  network_interfaces: v.pipe(
    v.array(text({ title: 'Interface', description: 'An iface_id of network-interfaces.' })),
    v.minLength(1, 'must name at least one network interface'),
    v.title('Interfaces'),
    v.description('Network interfaces through which the guest reaches the metadata service.'),
    v.examples([['eth0']]),
  ),
  ipv4_address: v.nullish(
    // Firecracker's own pattern for a usable link-local address (RFC 3927, 2.1).
    matching(
      /^169\.254\.(?:[1-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-4])\.(?:[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$/,
      'a link-local address, 169.254.1.0 to 169.254.254.255',
      { title: 'Address', description: 'Where the guest finds the service.' },
    ),
    '169.254.169.254',
  ),
  imds_compat: v.nullish(
    flag({ title: 'IMDS compatible', description: 'Always answer text/plain, as EC2 does.' }),
    false,
  ),
});

export const pmem = v.strictObject({
  id: resourceId({ title: 'Name', description: 'Names the device in messages and in the API.' }),
  path_on_host: path({ title: 'File', description: 'The backing file.', examples: ['data.img'] }),
  root_device: v.nullish(flag({ title: 'Root device', description: 'The guest’s root file system is here.' }), false),
  read_only: v.nullish(flag({ title: 'Read only', description: 'The guest cannot write.' }), false),
  rate_limiter: rateLimited('Limits flushes.'),
});

export const memoryHotplug = v.strictObject({
  total_size_mib: integer(1, MAX_MIB, {
    title: 'Total size',
    description: 'Memory that can be plugged.',
    unit: 'MiB',
    examples: [1024],
  }),
  slot_size_mib: v.nullish(
    integer(128, MAX_MIB, { title: 'Slot size', description: 'Granularity on the host.', unit: 'MiB' }),
    128,
  ),
  block_size_mib: v.nullish(
    integer(2, MAX_MIB, { title: 'Block size', description: 'Granularity in the guest: a power of two.', unit: 'MiB' }),
    2,
  ),
});

export const metrics = v.strictObject({
  metrics_path: path({
    title: 'Metrics file',
    description: 'A file or named pipe for JSON lines.',
    examples: ['metrics.json'],
  }),
  properties: v.nullish(
    v.pipe(
      v.record(v.string(), v.string()),
      about<Record<string, string>>({
        title: 'Properties',
        description: 'Texts by their names, which each line has under `properties`.',
        examples: [{ customer_id: '1234' }],
      }),
    ),
  ),
});
