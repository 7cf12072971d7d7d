import * as v from 'valibot';
import { about, anyCase, flag, integer, MAX_MIB, matching, oneOf, path, text, tokenBucket } from './schema-parts.ts';
import { DEFAULT_TRANSPORT } from './types.ts';

// The sections that nearly every file has. They are apart so that starting such a one need not build the others' schemas.

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
  transport: v.nullish(
    oneOf(['mmio', 'pci'], {
      title: 'Transport',
      description:
        'mvm’s addition: virtio devices as virtio-mmio windows, or as virtio-pci functions with MSI-X. Firecracker has an option for it, --enable-pci.',
    }),
    DEFAULT_TRANSPORT,
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

const consoleMode = (pathKey: string) =>
  v.nullish(
    oneOf(['stdio', 'file', 'none'], {
      title: 'Mode',
      description: `mvm’s addition: the terminal (standard input and output), ${pathKey}, or nowhere. Left out: file with ${pathKey}, else stdio.`,
    }),
  );
const consoleLimiter = v.nullish(
  v.pipe(tokenBucket, v.title('Rate limiter'), v.description('What exceeds it is dropped and counted.')),
);

const virtioConsole = v.strictObject({
  console_out_path: v.nullish(
    path({
      title: 'Output file',
      description: 'A file or named pipe for what the guest writes to hvc0.',
      examples: ['console.log'],
    }),
  ),
  rate_limiter: consoleLimiter,
  mode: consoleMode('console_out_path'),
});

const serial = v.strictObject({
  serial_out_path: v.nullish(
    path({
      title: 'Output file',
      description: 'A file or named pipe for what the guest writes to its serial port.',
      examples: ['console.log'],
    }),
  ),
  rate_limiter: consoleLimiter,
  mode: consoleMode('serial_out_path'),
});

/** Sections by their names in the file. */
export const coreEntries = {
  'boot-source': v.pipe(bootSource, v.title('Boot source'), v.description('What the guest boots.')),
  'machine-config': v.nullish(v.pipe(machineConfig, v.title('Machine'), v.description('CPUs and memory.'))),
  serial: v.nullish(v.pipe(serial, v.title('Serial port'), v.description('Where the first serial port leads.'))),
  console: v.nullish(
    v.pipe(
      virtioConsole,
      v.title('virtio console'),
      v.description(
        'mvm’s addition: a virtio console, hvc0, faster than the serial port. What is typed then goes to it.',
      ),
    ),
  ),
  logger: v.nullish(v.pipe(logger, v.title('Log'), v.description('mvm’s own log; it never goes to standard output.'))),
};

/** A file of these sections only. */
export const CoreSchema = v.strictObject(coreEntries);
