import * as v from 'valibot';
import { CpuTemplateSchema } from './schema-cpu.ts';
import { balloon, drive, entropy, memoryHotplug, mmdsConfig, networkInterface, pmem, vsock } from './schema-devices.ts';
import {
  about,
  anyCase,
  flag,
  integer,
  list,
  MAX_MIB,
  matching,
  oneOf,
  path,
  text,
  tokenBucket,
} from './schema-parts.ts';

/**
 * The configuration file: Firecracker's keys and meanings (its `src/firecracker/swagger/firecracker.yaml`, 1.17, and the
 * `VmmConfig` that its `--config-file` reads), and what mvm adds. This is the one source of the validation, of the types below and of
 * the JSON Schema that `mvm schema` prints.
 *
 * As in Firecracker, `null` for a key that may be left out means that it is left out.
 */

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
export type SectionName = keyof FileConfig;
