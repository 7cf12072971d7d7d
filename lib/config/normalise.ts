import { resolve } from 'node:path';
import { MIB } from '../memory/layout.ts';
import { parseCpuTemplate } from './cpu-template.ts';
import type { FileConfig } from './schema.ts';
import type { CpuTemplateFile } from './schema-cpu.ts';
import {
  type ConsoleConfig,
  DEFAULT_CMDLINE,
  DEFAULT_MEMORY_SIZE,
  DEFAULT_TRANSPORT,
  type DriveConfig,
  type LoggerConfig,
  type LogLevel,
  type MachineConfig,
  type NetworkInterfaceConfig,
  type NetworkLink,
  type PmemConfig,
  type RateLimiterConfig,
  type TokenBucketConfig,
  VIRTIO_CONSOLE_CMDLINE,
  type VmConfig,
} from './types.ts';

/** Firecracker's name for an instance that was given none. */
export const DEFAULT_ID = 'anonymous-instance';

export interface NormaliseOptions {
  readonly id?: string | undefined;
  /** What the file that `cpu-config` names holds. */
  readonly cpuTemplate?: CpuTemplateFile | undefined;
}

/**
 * Makes what the machine consumes out of a valid configuration.
 * @param baseDirectory where relative paths begin: the configuration file's directory
 */
export function normaliseConfig(file: FileConfig, baseDirectory: string, options: NormaliseOptions = {}): VmConfig {
  const absolute = (path: string) => resolve(baseDirectory, path);
  const boot = file['boot-source'];
  const console = virtioConsoleOf(file.console, absolute);
  const cpu = typeof file['cpu-config'] === 'string' ? options.cpuTemplate : file['cpu-config'];
  const { balloon, metrics, vsock, entropy } = file;
  const mmds = file['mmds-config'];
  const hotplug = file['memory-hotplug'];
  return {
    id: options.id ?? DEFAULT_ID,
    boot: {
      kernelPath: absolute(boot.kernel_image_path),
      initrdPath: boot.initrd_path ? absolute(boot.initrd_path) : undefined,
      cmdline: boot.boot_args ?? (console.kind === 'none' ? DEFAULT_CMDLINE : VIRTIO_CONSOLE_CMDLINE),
    },
    machine: machineOf(file['machine-config']),
    serial: serialOf(file.serial, absolute),
    console,
    logger: loggerOf(file.logger, absolute),
    cpu: cpu ? parseCpuTemplate(cpu) : undefined,
    metrics: metrics
      ? { path: absolute(metrics.metrics_path), properties: metrics.properties ?? undefined }
      : undefined,
    drives: (file.drives ?? []).map((drive) => driveOf(drive, absolute)),
    networkInterfaces: (file['network-interfaces'] ?? []).map((net, index) => networkInterfaceOf(net, index, absolute)),
    vsock: vsock ? { guestCid: vsock.guest_cid, udsPath: absolute(vsock.uds_path) } : undefined,
    entropy: entropy ? { rateLimiter: rateLimiterOf(entropy.rate_limiter) } : undefined,
    balloon: balloon
      ? {
          amount: balloon.amount_mib * MIB,
          deflateOnOom: balloon.deflate_on_oom,
          statsPollingInterval: balloon.stats_polling_interval_s,
          freePageHinting: balloon.free_page_hinting,
          freePageReporting: balloon.free_page_reporting,
        }
      : undefined,
    mmds: mmds
      ? {
          version: mmds.version,
          networkInterfaces: mmds.network_interfaces,
          ipv4Address: mmds.ipv4_address,
          imdsCompat: mmds.imds_compat,
        }
      : undefined,
    pmem: (file.pmem ?? []).map((device) => pmemOf(device, absolute)),
    memoryHotplug: hotplug
      ? {
          totalSize: hotplug.total_size_mib * MIB,
          slotSize: hotplug.slot_size_mib * MIB,
          blockSize: hotplug.block_size_mib * MIB,
        }
      : undefined,
  };
}

type Absolute = (path: string) => string;
type Item<K extends 'drives' | 'network-interfaces' | 'pmem'> = NonNullable<FileConfig[K]>[number];
type RateLimiterFile = Item<'drives'>['rate_limiter'];
type TokenBucketFile = NonNullable<NonNullable<RateLimiterFile>['bandwidth']>;

function machineOf(machine: FileConfig['machine-config']): MachineConfig {
  return {
    vcpuCount: machine?.vcpu_count ?? 1,
    memorySize: machine ? machine.mem_size_mib * MIB : DEFAULT_MEMORY_SIZE,
    smt: machine?.smt ?? false,
    cpuTemplate: machine?.cpu_template ?? 'None',
    trackDirtyPages: machine?.track_dirty_pages ?? false,
    hugePages: machine?.huge_pages ?? 'None',
    transport: machine?.transport ?? DEFAULT_TRANSPORT,
  };
}

function serialOf(serial: FileConfig['serial'], absolute: Absolute): ConsoleConfig {
  return consoleOf(serial?.mode, serial?.serial_out_path, serial?.rate_limiter, absolute);
}

/** There is one only where the section is. */
function virtioConsoleOf(console: FileConfig['console'], absolute: Absolute): ConsoleConfig {
  if (!console) return { kind: 'none' };
  return consoleOf(console.mode, console.console_out_path, console.rate_limiter, absolute);
}

function consoleOf(
  mode: NonNullable<FileConfig['serial']>['mode'],
  path: string | null | undefined,
  limiter: TokenBucketFile | null | undefined,
  absolute: Absolute,
): ConsoleConfig {
  const rateLimiter = limiter ? tokenBucketOf(limiter) : undefined;
  if (mode === 'none') return { kind: 'none' };
  return path ? { kind: 'file', path: absolute(path), rateLimiter } : { kind: 'stdio', rateLimiter };
}

function loggerOf(logger: FileConfig['logger'], absolute: Absolute): LoggerConfig {
  return {
    path: logger?.log_path ? absolute(logger.log_path) : undefined,
    // Who asks for no log sees warnings only; who asks for one gets Firecracker's default.
    level: logger ? levelOf(logger.level) : 'Warning',
    showLevel: logger?.show_level ?? false,
    showOrigin: logger?.show_log_origin ?? false,
    module: logger?.module ?? undefined,
    format: logger?.format ?? 'text',
  };
}

/** @param name one of the schema's names, in any case; `Warn` is `Warning` */
function levelOf(name: string): LogLevel {
  const level = name.charAt(0).toUpperCase() + name.slice(1).toLowerCase();
  return level === 'Warn' ? 'Warning' : (level as LogLevel);
}

function driveOf(drive: Item<'drives'>, absolute: Absolute): DriveConfig {
  return {
    id: drive.drive_id,
    isRoot: drive.is_root_device,
    partuuid: drive.partuuid ?? undefined,
    cacheType: drive.cache_type,
    backend: drive.socket
      ? { kind: 'vhost-user', socketPath: absolute(drive.socket) }
      : {
          kind: 'file',
          path: absolute(drive.path_on_host ?? ''),
          readOnly: drive.is_read_only ?? false,
          ioEngine: drive.io_engine ?? 'Sync',
          rateLimiter: rateLimiterOf(drive.rate_limiter),
        },
  };
}

function networkInterfaceOf(
  net: Item<'network-interfaces'>,
  index: number,
  absolute: Absolute,
): NetworkInterfaceConfig {
  const link = linkOf(net, absolute);
  return {
    id: net.iface_id,
    link,
    // passt sends nothing to a guest whose address it does not know. On a network of its own any address is free.
    guestMac: net.guest_mac?.toLowerCase() ?? (link.kind === 'passt' ? macOfNumber(index) : undefined),
    mtu: net.mtu ?? undefined,
    rxRateLimiter: rateLimiterOf(net.rx_rate_limiter),
    txRateLimiter: rateLimiterOf(net.tx_rate_limiter),
  };
}

function linkOf({ passt, host_dev_name: name }: Item<'network-interfaces'>, absolute: Absolute): NetworkLink {
  if (!passt) return { kind: 'tap', name: name ?? '' };
  if (passt.socket) return { kind: 'socket', path: absolute(passt.socket) };
  return { kind: 'passt', tcpPorts: passt.tcp_ports ?? [], udpPorts: passt.udp_ports ?? [] };
}

/** A locally administered address. @param number below 256 */
function macOfNumber(number: number): string {
  return `06:00:00:00:00:${(number + 1).toString(16).padStart(2, '0')}`;
}

function pmemOf(device: Item<'pmem'>, absolute: Absolute): PmemConfig {
  return {
    id: device.id,
    path: absolute(device.path_on_host),
    isRoot: device.root_device,
    readOnly: device.read_only,
    rateLimiter: rateLimiterOf(device.rate_limiter),
  };
}

function rateLimiterOf(limiter: RateLimiterFile): RateLimiterConfig | undefined {
  if (!limiter) return undefined;
  return {
    bandwidth: limiter.bandwidth ? tokenBucketOf(limiter.bandwidth) : undefined,
    ops: limiter.ops ? tokenBucketOf(limiter.ops) : undefined,
  };
}

function tokenBucketOf(bucket: TokenBucketFile): TokenBucketConfig {
  return { size: bucket.size, oneTimeBurst: bucket.one_time_burst ?? 0, refillTime: bucket.refill_time };
}
