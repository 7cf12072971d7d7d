import type { VmConfig } from '../config/types.ts';
import { HostError } from '../errors.ts';
import { openStream } from '../net/create.ts';
import { moveUp } from './descriptors.ts';

/** A stream of a user-mode network, for the network interface at `index`. */
export interface Stream {
  readonly index: number;
  readonly fd: number;
}

/**
 * Connects the user-mode networks, which a virtual machine in a jail can neither reach nor start.
 * @param netns the network namespace that the virtual machine is to be in
 * @throws ConfigError, HostError where one cannot be used
 */
export async function openStreams({ networkInterfaces }: VmConfig, netns: string | undefined): Promise<Stream[]> {
  const streams: Stream[] = [];
  for (const [index, { link, mtu }] of networkInterfaces.entries()) {
    if (link.kind === 'tap') continue;
    const where = `/network-interfaces/${index}/passt`;
    if (link.kind === 'passt' && netns !== undefined) {
      throw new HostError('passt would be outside of the network namespace', {
        where,
        hint: `start it inside, and name its socket: ip netns exec … passt --socket PATH`,
      });
    }
    const { fd, ready } = openStream(link, mtu, where);
    await ready?.();
    streams.push({ index, fd: moveUp(fd) });
  }
  return streams;
}

/** The configuration as it is where the streams have other numbers, from `first` on. */
export function withStreams(config: VmConfig, streams: readonly Stream[], first: number): VmConfig {
  const networkInterfaces = config.networkInterfaces.map((one, index) => {
    const place = streams.findIndex((stream) => stream.index === index);
    return place < 0 ? one : { ...one, link: { kind: 'stream', fd: first + place } as const };
  });
  return { ...config, networkInterfaces };
}
