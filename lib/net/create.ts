import type { RequestLimiter } from '../../devices/virtio/limiter.ts';
import { NetDevice, parseMac } from '../../devices/virtio/net/net.ts';
import type { NetworkInterfaceConfig, RateLimiterConfig } from '../config/types.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import { LoopTimer } from '../loop/timer.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { RateLimiter } from '../rate-limiter.ts';
import { TapBackend } from './tap.ts';

/** A network interface's device, and what of it outlives the device's own interest. */
export interface NetworkInterface {
  readonly config: NetworkInterfaceConfig;
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

/**
 * Opens a network interface's tap and makes the device.
 * @param where its place in the configuration, as `/network-interfaces/0`
 * @throws ConfigError, HostError where the tap cannot be used
 */
export function createNetworkInterface(
  host: NetworkHost,
  config: NetworkInterfaceConfig,
  where: string,
): NetworkInterface {
  const { loop, memory, warn } = host;
  const backend = new TapBackend(loop, memory.addressOf(0), {
    name: config.hostDevName,
    where: `${where}/host_dev_name`,
    warn,
  });
  const receiveLimiter = limiterOf(loop, config.rxRateLimiter);
  const transmitLimiter = limiterOf(loop, config.txRateLimiter);
  const limiters: { receiveLimiter: RequestLimiter | undefined; transmitLimiter: RequestLimiter | undefined } = {
    receiveLimiter,
    transmitLimiter,
  };
  const device = new NetDevice(backend, {
    id: config.id,
    mac: config.guestMac === undefined ? undefined : parseMac(config.guestMac),
    mtu: config.mtu,
    ...limiters,
  });
  return { config, device, receiveLimiter, transmitLimiter, close: () => backend.close() };
}
