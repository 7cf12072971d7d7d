import type { NetBackend } from '../../devices/virtio/net/backend.ts';
import { NetDevice, parseMac } from '../../devices/virtio/net/net.ts';
import type { NetworkInterfaceConfig, RateLimiterConfig } from '../config/types.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import { LoopTimer } from '../loop/timer.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { RateLimiter } from '../rate-limiter.ts';
import { connectStream, type PasstOptions, startPasst } from './passt.ts';
import { StreamBackend } from './stream.ts';
import { TapBackend } from './tap.ts';

/** What is at the host's end: a tap, a passt of our own, or one (or whatever else speaks as it does) that listens on a socket. */
export type NetworkLink =
  | { readonly kind: 'tap'; readonly name: string }
  | ({ readonly kind: 'passt' } & PasstOptions)
  | { readonly kind: 'socket'; readonly path: string };

/** What any network interface is configured with. */
export type InterfaceConfig = Omit<NetworkInterfaceConfig, 'hostDevName'>;

/** A network interface's device, and what of it outlives the device's own interest. */
export interface NetworkInterface {
  readonly config: InterfaceConfig;
  readonly device: NetDevice;
  /** Undefined where the configuration has none. */
  readonly receiveLimiter: RateLimiter | undefined;
  readonly transmitLimiter: RateLimiter | undefined;
  close(): void;
}

/** What network interfaces need of the machine. */
export interface NetworkHost {
  readonly loop: EventLoop;
  readonly memory: HostMemory;
  /** Takes one line. */
  readonly warn: (message: string) => void;
}

function limiterOf(loop: EventLoop, config: RateLimiterConfig | undefined): RateLimiter | undefined {
  return config === undefined ? undefined : new RateLimiter(config, (onTime) => new LoopTimer(loop, onTime));
}

/** @throws ConfigError, HostError where it cannot be used */
function openLink(host: NetworkHost, link: NetworkLink, id: string, mac: Uint8Array | undefined, where: string): Link {
  const { loop, memory, warn } = host;
  if (link.kind === 'tap') {
    const options = { name: link.name, where: `${where}/host_dev_name`, warn };
    const backend = new TapBackend(loop, memory.addressOf(0), options);
    return { backend, close: () => backend.close() };
  }
  const name = `network interface "${id}"`;
  const place = `${where}/passt`;
  const fd = link.kind === 'socket' ? connectStream(link.path, place) : startPasst(link, place, warn).fd;
  const backend = new StreamBackend(loop, memory, fd, { name, mac, warn });
  return { backend, close: () => backend.close() };
}

interface Link {
  readonly backend: NetBackend;
  close(): void;
}

/**
 * Opens a network interface's host end and makes the device.
 * @param where its place in the configuration, as `/network-interfaces/0`
 * @throws ConfigError, HostError where the host's end cannot be used
 */
export function createNetworkInterface(
  host: NetworkHost,
  config: InterfaceConfig,
  link: NetworkLink,
  where: string,
): NetworkInterface {
  const mac = config.guestMac === undefined ? undefined : parseMac(config.guestMac);
  const { backend, close } = openLink(host, link, config.id, mac, where);
  const receiveLimiter = limiterOf(host.loop, config.rxRateLimiter);
  const transmitLimiter = limiterOf(host.loop, config.txRateLimiter);
  const device = new NetDevice(backend, {
    id: config.id,
    mac,
    mtu: config.mtu,
    receiveLimiter,
    transmitLimiter,
  });
  return { config, device, receiveLimiter, transmitLimiter, close };
}
