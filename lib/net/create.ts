import type { NetBackend } from '../../devices/virtio/net/backend.ts';
import { NetDevice, parseMac } from '../../devices/virtio/net/net.ts';
import type { NetworkInterfaceConfig, NetworkLink, RateLimiterConfig } from '../config/types.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import { LoopTimer } from '../loop/timer.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { RateLimiter } from '../rate-limiter.ts';
import { connectStream, startPasst } from './passt.ts';
import { StreamBackend } from './stream.ts';
import { TapBackend } from './tap.ts';

/** A network interface's device, and what of it outlives the device's own interest. */
export interface NetworkInterface {
  readonly config: NetworkInterfaceConfig;
  readonly device: NetDevice;
  /** Undefined where the configuration has none. */
  readonly receiveLimiter: RateLimiter | undefined;
  readonly transmitLimiter: RateLimiter | undefined;
  /** Waits until the host's end works. @throws ConfigError, HostError where it does not */
  readonly ready: (() => Promise<void>) | undefined;
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
function openLink(host: NetworkHost, config: NetworkInterfaceConfig, mac: Uint8Array | undefined, where: string): Link {
  const { loop, memory, warn } = host;
  const { id, link, mtu } = config;
  if (link.kind === 'tap') {
    const options = { name: link.name, where: `${where}/host_dev_name`, warn };
    const backend = new TapBackend(loop, memory.addressOf(0), options);
    return { backend, ready: undefined, close: () => backend.close() };
  }
  const name = `network interface "${id}"`;
  const place = `${where}/passt`;
  const { fd, ready } = openStream(link, mtu, place);
  const backend = new StreamBackend(loop, memory, fd, { name, mac, warn });
  return { backend, ready, close: () => backend.close() };
}

/**
 * Connects with what is at the other end of a user-mode network, or starts it.
 * @param where its place in the configuration
 * @returns a connected stream that does not block; and what waits until the other end works
 * @throws ConfigError, HostError where it cannot be used
 */
export function openStream(
  link: Exclude<NetworkLink, { kind: 'tap' }>,
  mtu: number | undefined,
  where: string,
): { fd: number; ready: (() => Promise<void>) | undefined } {
  switch (link.kind) {
    case 'stream':
      return { fd: link.fd, ready: undefined };
    case 'socket':
      return { fd: connectStream(link.path, `${where}/socket`), ready: undefined };
    case 'passt':
      return startPasst({ ...link, mtu }, where);
  }
}

interface Link {
  readonly backend: NetBackend;
  readonly ready: (() => Promise<void>) | undefined;
  close(): void;
}

/**
 * Opens a network interface's host end and makes the device.
 * @param where its place in the configuration, as `/network-interfaces/0`
 * @throws ConfigError, HostError where the host's end cannot be used
 */
export function createNetworkInterface(
  host: NetworkHost,
  config: NetworkInterfaceConfig,
  where: string,
): NetworkInterface {
  const mac = config.guestMac === undefined ? undefined : parseMac(config.guestMac);
  const { backend, ready, close } = openLink(host, config, mac, where);
  const receiveLimiter = limiterOf(host.loop, config.rxRateLimiter);
  const transmitLimiter = limiterOf(host.loop, config.txRateLimiter);
  const device = new NetDevice(backend, {
    id: config.id,
    mac,
    mtu: config.mtu,
    receiveLimiter,
    transmitLimiter,
  });
  return { config, device, receiveLimiter, transmitLimiter, ready, close };
}
