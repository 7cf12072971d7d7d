import { EntropyDevice } from '../../devices/virtio/entropy/entropy.ts';
import type { EntropyConfig } from '../config/types.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import { LoopTimer } from '../loop/timer.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { RateLimiter } from '../rate-limiter.ts';
import { KernelEntropy } from './kernel-entropy.ts';

/** Makes the entropy device of a virtual machine. */
export function createEntropy(
  config: EntropyConfig,
  loop: EventLoop,
  memory: HostMemory,
): { readonly device: EntropyDevice; readonly limiter: RateLimiter | undefined } {
  const limiter =
    config.rateLimiter === undefined
      ? undefined
      : new RateLimiter(config.rateLimiter, (onTime) => new LoopTimer(loop, onTime));
  return { device: new EntropyDevice(new KernelEntropy(loop.arena, memory.addressOf(0)), limiter), limiter };
}
