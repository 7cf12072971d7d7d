import type { Overrides } from '../lib/config/overrides.ts';
import type { JailOptions } from '../lib/jail/options.ts';

/**
 * The options of the command line, once: node:util's parser and yargs are both made from this table.
 * Values stay texts here; `lib/config` turns them into numbers and sizes, so that a file and an option are checked alike.
 */
export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  /** May be given several times. */
  readonly multiple?: true;
  readonly short?: string;
  readonly describe: string;
  /** The value's name in `--help`. */
  readonly value?: string;
  /** For shell completion. */
  readonly choices?: readonly string[];
  /** A boolean that is true by default: `--no-NAME` is the form that users want, and the one that `describe` is about. */
  readonly negated?: boolean;
}

/** Options for every command. */
export const COMMON_OPTIONS = {
  quiet: { type: 'boolean', short: 'q', describe: 'Say nothing but errors' },
  debug: { type: 'boolean', describe: 'Log at level Debug, and show where errors come from' },
  'log-format': {
    type: 'string',
    value: 'text|json',
    choices: ['text', 'json'],
    describe: 'Messages as lines of text, or as one JSON object a line (/logger/format)',
  },
} as const satisfies Record<string, OptionSpec>;

/** Options of `run` and `check`: they stand for keys of the configuration file, named in brackets, or override them. */
export const VM_OPTIONS = {
  kernel: {
    type: 'string',
    short: 'k',
    value: 'FILE',
    describe: 'Guest kernel: ELF vmlinux or bzImage (/boot-source/kernel_image_path)',
  },
  initrd: { type: 'string', short: 'i', value: 'FILE', describe: 'Initial RAM disk (/boot-source/initrd_path)' },
  cmdline: { type: 'string', short: 'c', value: 'TEXT', describe: 'Kernel command line (/boot-source/boot_args)' },
  memory: {
    type: 'string',
    short: 'm',
    value: 'SIZE',
    describe: 'Guest memory, as 256M or 2G (/machine-config/mem_size_mib)',
  },
  cpus: { type: 'string', value: 'N', describe: 'Number of vCPUs, 1 to 32 (/machine-config/vcpu_count)' },
  smt: { type: 'boolean', describe: 'Announce two threads a core (/machine-config/smt)' },
  'huge-pages': {
    type: 'string',
    value: 'KIND',
    choices: ['None', 'Transparent', '2M'],
    describe: 'None, Transparent or 2M (/machine-config/huge_pages)',
  },
  'cpu-template': {
    type: 'string',
    value: 'NAME',
    choices: ['None', 'C3', 'T2', 'T2S', 'T2CL', 'T2A', 'V1N1'],
    describe: 'Static CPU template (/machine-config/cpu_template)',
  },
  'track-dirty-pages': {
    type: 'boolean',
    describe: 'Record the pages that the guest writes (/machine-config/track_dirty_pages)',
  },
  transport: {
    type: 'string',
    value: 'mmio|pci',
    choices: ['mmio', 'pci'],
    describe: 'What carries virtio devices; mmio is the default (/machine-config/transport)',
  },
  'enable-pci': { type: 'boolean', describe: 'As --transport pci; Firecracker’s name for it' },
  serial: {
    type: 'string',
    value: 'stdio|none|FILE',
    choices: ['stdio', 'none'],
    describe: 'Where the serial port leads; stdio is the default (/serial)',
  },
  console: {
    type: 'string',
    value: 'virtio|serial|FILE',
    choices: ['virtio', 'serial'],
    describe:
      "The guest's console at this terminal: its serial port (ttyS0, the default), or a virtio console (hvc0), many times faster. " +
      'A FILE takes the output of a virtio console (/console)',
  },
  net: {
    type: 'string',
    multiple: true,
    value: 'user|TAP',
    choices: ['user'],
    describe:
      'A network interface: user is a user-mode network (passt), as user,tcp=8080:80,udp=5353:53 with ports of the host that lead ' +
      'to the guest; TAP a tap device, made where there is none and that is allowed. Also for more than one; instead of those in the file (/network-interfaces)',
  },
  'metrics-path': {
    type: 'string',
    value: 'FILE',
    describe: 'Write counters here, a JSON line a minute, on SIGUSR1 and at the end (/metrics/metrics_path)',
  },
  'log-path': { type: 'string', value: 'FILE', describe: 'Log here, not to standard error (/logger/log_path)' },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    choices: ['Off', 'Error', 'Warning', 'Info', 'Debug', 'Trace'],
    describe: 'Off, Error, Warning, Info, Debug or Trace (/logger/level)',
  },
  'show-level': { type: 'boolean', describe: 'Begin log lines with their level (/logger/show_level)' },
  'show-log-origin': {
    type: 'boolean',
    describe: 'Begin log lines with the module that they are from (/logger/show_log_origin)',
  },
  module: { type: 'string', value: 'NAME', describe: 'Log only modules whose name begins so (/logger/module)' },
  id: { type: 'string', value: 'NAME', describe: 'Name of this instance, for the log and the jail' },
  'seccomp-filter': {
    type: 'string',
    value: 'FILE',
    describe: 'Profiles of system calls in place of mvm’s own (see mvm seccomp)',
  },
  seccomp: { type: 'boolean', negated: true, describe: 'Filter no system calls; for debugging only' },
  'resource-limit': {
    type: 'string',
    multiple: true,
    value: 'fsize=BYTES|no-file=COUNT',
    describe: 'Limit the size of files that are written, or the number of descriptors (2048); may be repeated',
  },
} as const satisfies Record<string, OptionSpec> & Record<Exclude<keyof Overrides, 'log-format'>, OptionSpec>;

/** Options of `run` that are about the jail: see lib/jail/options.ts. */
export const JAIL_OPTIONS = {
  jail: {
    type: 'boolean',
    describe: 'Run the virtual machine in namespaces, a root directory and a cgroup of its own',
  },
  uid: { type: 'string', value: 'N', describe: 'User that the virtual machine becomes; nobody (65534) is the default' },
  gid: { type: 'string', value: 'N', describe: 'Group that it becomes; nogroup (65534) is the default' },
  'chroot-base-dir': {
    type: 'string',
    value: 'DIR',
    describe:
      'The root directory is DIR/mvm/ID/root; /srv/jailer is the default, and without root $XDG_RUNTIME_DIR/jailer',
  },
  cgroup: {
    type: 'string',
    multiple: true,
    value: 'FILE=VALUE',
    describe: 'A limit, as memory.max=1G or cpu.cfs_quota_us=50000; for more than one, give it again',
  },
  'cgroup-version': {
    type: 'string',
    value: '1|2',
    choices: ['1', '2'],
    describe: 'Version of cgroups; 2 is the default where it has the controllers of all limits',
  },
  'parent-cgroup': {
    type: 'string',
    value: 'PATH',
    describe: 'The cgroup is PATH/ID, PATH relative to the root of the cgroups; mvm is the default',
  },
  netns: { type: 'string', value: 'FILE', describe: 'Network namespace to be in, as /run/netns/NAME' },
  daemonize: { type: 'boolean', describe: 'Go to the background once the guest runs' },
  'new-pid-ns': { type: 'boolean', negated: true, describe: 'Stay in the PID namespace of mvm’s caller' },
} as const satisfies Record<keyof JailOptions, OptionSpec>;

/** Options of `seccomp`. */
export const SECCOMP_OPTIONS = {
  check: { type: 'string', value: 'FILE', describe: 'Find every mistake in a file of profiles' },
  disassemble: {
    type: 'string',
    value: 'PROFILE|FILE',
    choices: ['vcpu', 'main', 'runtime'],
    describe: 'Show the BPF program of a profile of mvm’s own, or of a file',
  },
  print: { type: 'boolean', describe: 'Print mvm’s own profiles, to begin a file for --seccomp-filter with' },
  thread: {
    type: 'string',
    value: 'NAME',
    choices: ['vcpu', 'main', 'runtime'],
    describe: 'Only the profile of this kind of thread; which one a file with a single profile is for',
  },
} as const satisfies Record<string, OptionSpec>;

type Values<T extends Record<string, OptionSpec>> = {
  readonly [K in keyof T]?:
    | (T[K]['type'] extends 'boolean' ? boolean : T[K] extends { multiple: true } ? readonly string[] : string)
    | undefined;
};

export type CommonOptions = Values<typeof COMMON_OPTIONS>;
/** What `run` and `check` were given. `config`: the file, `-`, or undefined. */
export type VmOptions = CommonOptions & Values<typeof VM_OPTIONS> & { readonly config?: string | undefined };

/** What `run` was given. */
export type RunOptions = VmOptions & Values<typeof JAIL_OPTIONS>;

/** The options that are keys of the configuration. `--quiet` and `--debug` are levels, which `--log-level` outweighs. */
export function overridesOf(options: VmOptions): Overrides {
  const {
    config: _config,
    id: _id,
    seccomp: _seccomp,
    'seccomp-filter': _filter,
    'resource-limit': _limits,
    quiet,
    debug,
    ...overrides
  } = options;
  const level = options['log-level'] ?? (quiet === true ? 'Error' : debug === true ? 'Debug' : undefined);
  return { ...overrides, 'log-level': level };
}
