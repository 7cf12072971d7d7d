/**
 * What the machine consumes: a configuration that was checked and completed. Every key is there, sizes are in bytes, times in
 * milliseconds, and paths are absolute. `load.ts` makes it from Firecracker's configuration file and the command line's options.
 */

/** How guest memory is backed (Firecracker's `machine-config.huge_pages`). */
export type HugePages = 'None' | 'Transparent' | '2M';

/** Firecracker's static CPU templates. */
export type CpuTemplate = 'None' | 'C3' | 'T2' | 'T2S' | 'T2CL' | 'T2A' | 'V1N1';

/** What carries virtio devices: windows in memory (virtio 1.2 section 4.2), or functions on a PCI bus (section 4.1). */
export type Transport = 'mmio' | 'pci';

export interface BootConfig {
  /** An ELF `vmlinux` or a `bzImage`. */
  readonly kernelPath: string;
  readonly initrdPath: string | undefined;
  /** The kernel command line as the user gave it, or `DEFAULT_CMDLINE`; the machine may append to it (devices, root). */
  readonly cmdline: string;
}

export interface MachineConfig {
  /** 1 to 32. */
  readonly vcpuCount: number;
  /** Guest RAM in bytes: a multiple of 1 MiB (of 2 MiB with `hugePages: '2M'`). */
  readonly memorySize: number;
  /** Two threads a core are announced to the guest. */
  readonly smt: boolean;
  readonly cpuTemplate: CpuTemplate;
  readonly trackDirtyPages: boolean;
  readonly hugePages: HugePages;
  readonly transport: Transport;
}

/** A token bucket: `size` tokens, refilled evenly in `refillTime` ms, after an initial `oneTimeBurst` that is not refilled. */
export interface TokenBucketConfig {
  readonly size: number;
  readonly oneTimeBurst: number;
  /** Milliseconds. */
  readonly refillTime: number;
}

/** Limits in bytes (`bandwidth`) and in operations (`ops`). */
export interface RateLimiterConfig {
  readonly bandwidth: TokenBucketConfig | undefined;
  readonly ops: TokenBucketConfig | undefined;
}

/** Where the output of a console goes. `stdio`: our standard output, and the guest reads our standard input. */
export type ConsoleConfig =
  | { readonly kind: 'stdio'; readonly rateLimiter: TokenBucketConfig | undefined }
  | { readonly kind: 'file'; readonly path: string; readonly rateLimiter: TokenBucketConfig | undefined }
  | { readonly kind: 'none' };

export type LogLevel = 'Off' | 'Error' | 'Warning' | 'Info' | 'Debug' | 'Trace';
export type LogFormat = 'text' | 'json';

export interface LoggerConfig {
  /** A file or named pipe; `undefined`: standard error. */
  readonly path: string | undefined;
  readonly level: LogLevel;
  readonly showLevel: boolean;
  /** Whether each line names the module that wrote it. */
  readonly showOrigin: boolean;
  /** Only modules whose name starts with this. */
  readonly module: string | undefined;
  readonly format: LogFormat;
}

export interface MetricsConfig {
  readonly path: string;
  /** What each report has beside its counters. */
  readonly properties: Readonly<Record<string, string>> | undefined;
}

/** A drive is backed by a file or block device, or by a vhost-user process behind a Unix socket. */
export type DriveBackend =
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly readOnly: boolean;
      readonly ioEngine: 'Sync' | 'Async';
      readonly rateLimiter: RateLimiterConfig | undefined;
    }
  | { readonly kind: 'vhost-user'; readonly socketPath: string };

export interface DriveConfig {
  readonly id: string;
  readonly isRoot: boolean;
  /** Of the root partition; the kernel gets `root=PARTUUID=…`. */
  readonly partuuid: string | undefined;
  /** `Unsafe`: flush requests are not offered. `Writeback`: they are, and are honoured. */
  readonly cacheType: 'Unsafe' | 'Writeback';
  readonly backend: DriveBackend;
}

/**
 * What is at a network interface's other end: a tap, a passt of our own, one that listens on a Unix socket already, or one with which a
 * stream is connected already (in a jail).
 */
export type NetworkLink =
  | { readonly kind: 'tap'; readonly name: string }
  | {
      readonly kind: 'passt';
      /** Ports of the host that are forwarded to the guest, each as passt(1) spells it: `8080:80`, `127.0.0.1/8022:22`. */
      readonly tcpPorts: readonly string[];
      readonly udpPorts: readonly string[];
    }
  | { readonly kind: 'socket'; readonly path: string }
  | { readonly kind: 'stream'; readonly fd: number };

export interface NetworkInterfaceConfig {
  readonly id: string;
  readonly link: NetworkLink;
  /** Six octets as `06:00:ac:10:00:02`, lower case. */
  readonly guestMac: string | undefined;
  readonly mtu: number | undefined;
  readonly rxRateLimiter: RateLimiterConfig | undefined;
  readonly txRateLimiter: RateLimiterConfig | undefined;
}

export interface VsockConfig {
  /** 3 to 2³²−2. */
  readonly guestCid: number;
  readonly udsPath: string;
}

export interface EntropyConfig {
  readonly rateLimiter: RateLimiterConfig | undefined;
}

export interface BalloonConfig {
  /** Bytes. */
  readonly amount: number;
  readonly deflateOnOom: boolean;
  /** Seconds; 0: no statistics. */
  readonly statsPollingInterval: number;
  readonly freePageHinting: boolean;
  readonly freePageReporting: boolean;
}

export interface MmdsConfig {
  readonly version: 'V1' | 'V2';
  readonly networkInterfaces: readonly string[];
  readonly ipv4Address: string;
  readonly imdsCompat: boolean;
}

export interface PmemConfig {
  readonly id: string;
  readonly path: string;
  readonly isRoot: boolean;
  readonly readOnly: boolean;
  readonly rateLimiter: RateLimiterConfig | undefined;
}

export interface MemoryHotplugConfig {
  /** Bytes. */
  readonly totalSize: number;
  /** Bytes. */
  readonly slotSize: number;
  /** Bytes. */
  readonly blockSize: number;
}

/** Bits to force: `(value & ~mask) | set`, where `mask` has every bit that the template names. */
export interface CpuidModifier {
  readonly leaf: number;
  readonly subleaf: number;
  /** `KVM_CPUID_FLAG_*`. */
  readonly flags: number;
  readonly registers: readonly {
    readonly register: 'eax' | 'ebx' | 'ecx' | 'edx';
    readonly mask: number;
    readonly set: number;
  }[];
}

export interface MsrModifier {
  readonly address: number;
  readonly mask: bigint;
  readonly set: bigint;
}

/** A custom CPU template (Firecracker's `cpu-config`), x86-64 part. */
export interface CpuConfig {
  readonly addCapabilities: readonly number[];
  readonly removeCapabilities: readonly number[];
  readonly cpuid: readonly CpuidModifier[];
  readonly msrs: readonly MsrModifier[];
}

export interface VmConfig {
  /** The instance's name: 1 to 64 letters, digits and `-`. */
  readonly id: string;
  readonly boot: BootConfig;
  readonly machine: MachineConfig;
  readonly serial: ConsoleConfig;
  /** A virtio console, hvc0. Where both are `stdio`, what is typed goes to this one. */
  readonly console: ConsoleConfig;
  readonly logger: LoggerConfig;
  readonly cpu: CpuConfig | undefined;
  readonly metrics: MetricsConfig | undefined;
  readonly drives: readonly DriveConfig[];
  readonly networkInterfaces: readonly NetworkInterfaceConfig[];
  readonly vsock: VsockConfig | undefined;
  readonly entropy: EntropyConfig | undefined;
  readonly balloon: BalloonConfig | undefined;
  readonly mmds: MmdsConfig | undefined;
  readonly pmem: readonly PmemConfig[];
  readonly memoryHotplug: MemoryHotplugConfig | undefined;
}

/** The kernel command line where the user gives none: the first serial port as console, and short ways to end. */
export const DEFAULT_CMDLINE = 'console=ttyS0 reboot=k panic=1 i8042.noaux i8042.nomux i8042.dumbkbd';
/** The same where there is a virtio console. */
export const VIRTIO_CONSOLE_CMDLINE = DEFAULT_CMDLINE.replace('ttyS0', 'hvc0');

/** Firecracker's default, too. */
export const DEFAULT_TRANSPORT: Transport = 'mmio';

/** Firecracker's default memory, in bytes. */
export const DEFAULT_MEMORY_SIZE = 128 * 1024 * 1024;
