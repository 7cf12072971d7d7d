import * as v from 'valibot';

/**
 * The configuration file: Firecracker's keys and meanings (its `src/firecracker/swagger/firecracker.yaml`, 1.17, and the
 * `VmmConfig` that its `--config-file` reads), and what mvm adds. This is the one source of the validation, of the types below and of
 * the JSON Schema that `mvm schema` prints.
 *
 * As in Firecracker, `null` for a key that may be left out means that it is left out.
 */

type Described = { title: string; description: string; unit?: string; examples?: readonly unknown[] };

/** Annotations of one key; `unit` becomes `x-unit` in the JSON Schema. */
const about = <T>(described: Described) => {
  const { unit, examples, ...texts } = described;
  return v.metadata<T, Record<string, unknown>>({
    ...texts,
    ...(examples === undefined ? {} : { examples }),
    ...(unit === undefined ? {} : { unit }),
  });
};

const text = (described: Described) => v.pipe(v.string(), v.nonEmpty('must not be empty'), about<string>(described));
const flag = (described: Described) => v.pipe(v.boolean(), about<boolean>(described));
const integer = (min: number, max: number, described: Described) =>
  v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max), about<number>(described));
const oneOf = <const T extends readonly [string, ...string[]]>(values: T, described: Described) =>
  v.pipe(v.picklist(values), about<T[number]>(described));
const matching = (pattern: RegExp, wanted: string, described: Described) =>
  v.pipe(v.string(), v.regex(pattern, `must be ${wanted}`), about<string>(described));
const list = <T extends v.GenericSchema>(item: T, described: Described) =>
  v.pipe(v.array(item), about<v.InferOutput<T>[]>(described));

/** A path on the host; a relative one is relative to the configuration file. */
const path = (described: Described) =>
  v.pipe(
    v.string(),
    v.nonEmpty('must not be empty'),
    // A path with a NUL byte cannot be given to the kernel.
    v.excludes('\0', 'must not hold a NUL character'),
    about<string>(described),
  );

/** Firecracker's resource names (`checked_id`). */
const resourceId = (described: Described) =>
  matching(/^[A-Za-z0-9_]{1,64}$/, '1 to 64 letters, digits and "_"', described);

/** A pattern for these words in upper, lower or mixed case, without a flag (JSON Schema knows none). */
const anyCase = (words: readonly string[]) =>
  new RegExp(
    `^(?:${words.map((word) => word.replace(/[a-z]/gi, (c) => `[${c.toUpperCase()}${c.toLowerCase()}]`)).join('|')})$`,
  );

/** Bitmap with `length` characters after `0b`: 0, 1, or x for a bit that is left alone; `_` between them is ignored. */
const bitmap = (length: number) => new RegExp(`^0b(?:_*[01x]){1,${length}}_*$`);
/** A 32-bit number as Firecracker's CPU templates write it: decimal, `0x…` or `0b…`. */
const NUMERAL = /^(?:0x[0-9a-fA-F]{1,8}|0b[01]{1,32}|[0-9]{1,9})$/;
/** The largest integer that a JSON number carries exactly. */
const MAX_COUNT = Number.MAX_SAFE_INTEGER;
const MAX_U32 = 0xffff_ffff;
/** `sockaddr_un.sun_path` holds 108 bytes with its final NUL (unix(7)); checked again once the path is absolute. */
const UNIX_PATH_HINT = 'A Unix socket’s path has at most 107 bytes.';
/** Memory sizes: up to 1 TiB, in MiB. */
const MAX_MIB = 1024 * 1024;

const tokenBucket = v.strictObject({
  size: integer(0, MAX_COUNT, {
    title: 'Bucket size',
    description: 'Tokens that the bucket holds: bytes or operations.',
    unit: 'tokens',
    examples: [1048576],
  }),
  refill_time: integer(0, MAX_COUNT, {
    title: 'Refill time',
    description: 'Time in which an empty bucket becomes full.',
    unit: 'ms',
    examples: [100],
  }),
  one_time_burst: v.nullish(
    integer(0, MAX_COUNT, {
      title: 'Initial burst',
      description: 'Tokens to spend first, which are not refilled.',
      unit: 'tokens',
    }),
  ),
});

const rateLimiter = v.strictObject({
  bandwidth: v.nullish(v.pipe(tokenBucket, v.title('Limit in bytes'))),
  ops: v.nullish(v.pipe(tokenBucket, v.title('Limit in operations'))),
});
const rateLimited = (what: string) => v.nullish(v.pipe(rateLimiter, v.title('Rate limiter'), v.description(what)));

const bootSource = v.strictObject({
  kernel_image_path: path({
    title: 'Kernel',
    description: 'The guest kernel: an ELF vmlinux (64-bit boot protocol or PVH) or a bzImage.',
    examples: ['vmlinux', '/boot/vmlinuz-6.12'],
  }),
  initrd_path: v.nullish(
    path({
      title: 'Initial RAM disk',
      description: 'A cpio archive, as the kernel takes it.',
      examples: ['initramfs.cpio'],
    }),
  ),
  boot_args: v.nullish(
    v.pipe(
      v.string(),
      v.excludes('\0', 'must not hold a NUL character'),
      about<string>({
        title: 'Kernel command line',
        description: 'Handed to the kernel. Left out: mvm’s default, with the first serial port as console.',
        examples: ['console=ttyS0 reboot=k panic=1'],
      }),
    ),
  ),
});

const machineConfig = v.strictObject({
  vcpu_count: v.nullish(
    integer(1, 32, {
      title: 'vCPUs',
      description: 'Number of virtual CPUs; with smt 1 or an even number.',
      examples: [2],
    }),
    1,
  ),
  mem_size_mib: v.nullish(
    integer(1, MAX_MIB, {
      title: 'Memory',
      description: 'Guest memory; with huge_pages 2M an even number.',
      unit: 'MiB',
      examples: [256],
    }),
    128,
  ),
  smt: v.nullish(
    flag({ title: 'Simultaneous multithreading', description: 'Announce two threads a core to the guest.' }),
    false,
  ),
  cpu_template: v.nullish(
    oneOf(['None', 'C3', 'T2', 'T2S', 'T2CL', 'T2A', 'V1N1'], {
      title: 'CPU template',
      description: 'Show the guest the CPU features of one instance type only. Deprecated in Firecracker.',
    }),
    'None',
  ),
  track_dirty_pages: v.nullish(
    flag({
      title: 'Dirty page tracking',
      description: 'Record which pages the guest writes, for differential snapshots.',
    }),
    false,
  ),
  huge_pages: v.nullish(
    oneOf(['None', 'Transparent', '2M'], {
      title: 'Huge pages',
      description:
        'Back guest memory by 4 KiB pages, by transparent huge pages, or by the host’s hugetlb pool of 2 MiB pages.',
    }),
    'None',
  ),
});

const drive = v.strictObject({
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

const networkInterface = v.strictObject({
  iface_id: resourceId({
    title: 'Name',
    description: 'Names the interface in messages and in the API.',
    examples: ['eth0'],
  }),
  // IFNAMSIZ is 16 with the final NUL; what a name may hold is dev_valid_name() of net/core/dev.c.
  host_dev_name: matching(/^(?!\.{1,2}$)[^\s/:\0]{1,15}$/, 'a network device name of 1 to 15 characters', {
    title: 'Tap device',
    description: 'The name of the tap device on the host.',
    examples: ['tap0'],
  }),
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

const vsock = v.strictObject({
  // 2³²−1 is VMADDR_CID_ANY, 0 to 2 are reserved (vsock(7)).
  guest_cid: integer(3, MAX_U32 - 1, { title: 'Context id', description: 'The guest’s vsock address.', examples: [3] }),
  uds_path: path({
    title: 'Unix socket',
    description: `mvm listens here for the host; the guest’s port N is PATH_N. ${UNIX_PATH_HINT}`,
    examples: ['vm.vsock'],
  }),
  vsock_id: v.nullish(text({ title: 'Name', description: 'Deprecated in Firecracker; has no effect.' })),
});

const cpuidModifier = v.strictObject({
  leaf: matching(NUMERAL, 'a number such as "0x1"', { title: 'Leaf', description: 'EAX of the CPUID instruction.' }),
  subleaf: matching(NUMERAL, 'a number such as "0x0"', {
    title: 'Subleaf',
    description: 'ECX of the CPUID instruction.',
  }),
  flags: integer(0, MAX_U32, { title: 'Flags', description: 'KVM_CPUID_FLAG_* of the entry.' }),
  modifiers: list(
    v.strictObject({
      register: oneOf(['eax', 'ebx', 'ecx', 'edx'], { title: 'Register', description: 'The register to modify.' }),
      bitmap: matching(bitmap(32), '"0b" and up to 32 of 0, 1 and x', {
        title: 'Bitmap',
        description: '"0b", then for each bit, the highest first: 0, 1, or x for unchanged.',
      }),
    }),
    { title: 'Modifiers', description: 'What to change in this leaf.' },
  ),
});

const msrModifier = v.strictObject({
  addr: matching(NUMERAL, 'a number such as "0x10a"', { title: 'MSR', description: 'Its index.', examples: ['0x10a'] }),
  bitmap: matching(bitmap(64), '"0b" and up to 64 of 0, 1 and x', {
    title: 'Bitmap',
    description: '"0b", then for each bit, the highest first: 0, 1, or x for unchanged.',
  }),
});

/** A custom CPU template: what Firecracker's `cpu-config` file holds. */
export const CpuTemplateSchema = v.strictObject({
  kvm_capabilities: v.nullish(
    list(
      matching(/^!?[0-9]{1,9}$/, 'a capability number such as "121" or "!121"', {
        title: 'KVM capability',
        description: 'Its number; with "!" it is not required.',
      }),
      { title: 'KVM capabilities', description: 'To require, or with "!" not to require.', examples: [['!56']] },
    ),
  ),
  cpuid_modifiers: v.nullish(
    list(cpuidModifier, { title: 'CPUID modifiers', description: 'Bits of CPUID leaves to force.' }),
  ),
  msr_modifiers: v.nullish(list(msrModifier, { title: 'MSR modifiers', description: 'Bits of MSRs to force.' })),
});

const logger = v.strictObject({
  log_path: v.nullish(
    path({ title: 'Log file', description: 'A file or named pipe. Left out: standard error.', examples: ['mvm.log'] }),
  ),
  level: v.nullish(
    matching(
      anyCase(['Off', 'Error', 'Warn', 'Warning', 'Info', 'Debug', 'Trace']),
      'one of Off, Error, Warning, Info, Debug and Trace',
      { title: 'Level', description: 'Off, Error, Warning, Info, Debug or Trace, in any case.', examples: ['Info'] },
    ),
    'Info',
  ),
  show_level: v.nullish(flag({ title: 'Show the level', description: 'Whether each line names its level.' }), false),
  show_log_origin: v.nullish(
    flag({ title: 'Show the origin', description: 'Whether each line names the module it is from.' }),
    false,
  ),
  module: v.nullish(
    text({ title: 'Module', description: 'Log only modules whose name begins so.', examples: ['serial'] }),
  ),
  format: v.nullish(
    oneOf(['text', 'json'], {
      title: 'Format',
      description: 'mvm’s addition: lines of text, or one JSON object a line.',
    }),
    'text',
  ),
});

const metrics = v.strictObject({
  metrics_path: path({
    title: 'Metrics file',
    description: 'A file or named pipe for JSON lines.',
    examples: ['metrics.json'],
  }),
});

const serial = v.strictObject({
  serial_out_path: v.nullish(
    path({
      title: 'Output file',
      description: 'A file or named pipe for what the guest writes to its serial port.',
      examples: ['console.log'],
    }),
  ),
  rate_limiter: v.nullish(
    v.pipe(tokenBucket, v.title('Rate limiter'), v.description('What exceeds it is dropped and counted.')),
  ),
  mode: v.nullish(
    oneOf(['stdio', 'file', 'none'], {
      title: 'Mode',
      description:
        'mvm’s addition: the terminal (standard input and output), serial_out_path, or nowhere. Left out: file with serial_out_path, else stdio.',
    }),
  ),
});

const entropy = v.strictObject({ rate_limiter: rateLimited('Limits what the guest reads.') });

const balloon = v.strictObject({
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

const mmdsConfig = v.strictObject({
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

const pmem = v.strictObject({
  id: resourceId({ title: 'Name', description: 'Names the device in messages and in the API.' }),
  path_on_host: path({ title: 'File', description: 'The backing file.', examples: ['data.img'] }),
  root_device: v.nullish(flag({ title: 'Root device', description: 'The guest’s root file system is here.' }), false),
  read_only: v.nullish(flag({ title: 'Read only', description: 'The guest cannot write.' }), false),
  rate_limiter: rateLimited('Limits flushes.'),
});

const memoryHotplug = v.strictObject({
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

/** The whole configuration file. */
export const ConfigSchema = v.pipe(
  v.strictObject({
    'boot-source': v.pipe(bootSource, v.title('Boot source'), v.description('What the guest boots.')),
    'machine-config': v.nullish(v.pipe(machineConfig, v.title('Machine'), v.description('CPUs and memory.'))),
    serial: v.nullish(v.pipe(serial, v.title('Serial port'), v.description('Where the first serial port leads.'))),
    logger: v.nullish(
      v.pipe(logger, v.title('Log'), v.description('mvm’s own log; it never goes to standard output.')),
    ),
    'cpu-config': v.nullish(
      v.pipe(
        v.union([path({ title: 'File', description: 'A file that holds a CPU template.' }), CpuTemplateSchema]),
        v.title('Custom CPU template'),
        v.description('The path of a file as in Firecracker or, mvm’s addition, the template itself.'),
      ),
    ),
    drives: v.nullish(list(drive, { title: 'Drives', description: 'virtio-blk devices.' })),
    'network-interfaces': v.nullish(
      list(networkInterface, { title: 'Network interfaces', description: 'virtio-net devices.' }),
    ),
    vsock: v.nullish(v.pipe(vsock, v.title('vsock'), v.description('A virtio-vsock device behind Unix sockets.'))),
    entropy: v.nullish(v.pipe(entropy, v.title('Entropy'), v.description('A virtio-rng device.'))),
    balloon: v.nullish(v.pipe(balloon, v.title('Balloon'), v.description('A virtio-balloon device.'))),
    metrics: v.nullish(v.pipe(metrics, v.title('Metrics'), v.description('Where counters are written.'))),
    'mmds-config': v.nullish(v.pipe(mmdsConfig, v.title('Metadata service'), v.description('MMDS for the guest.'))),
    pmem: v.nullish(list(pmem, { title: 'Persistent memory', description: 'virtio-pmem devices.' })),
    'memory-hotplug': v.nullish(
      v.pipe(memoryHotplug, v.title('Memory hotplug'), v.description('A virtio-mem device.')),
    ),
  }),
  v.title('mvm configuration'),
  v.description('Firecracker’s configuration file, as mvm reads it.'),
);

/** The file's content once it is valid: defaults filled in, names and units as in the file. */
export type FileConfig = v.InferOutput<typeof ConfigSchema>;
export type CpuTemplateFile = v.InferOutput<typeof CpuTemplateSchema>;
export type SectionName = keyof FileConfig;
