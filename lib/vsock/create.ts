import { VsockDevice } from '../../devices/virtio/vsock/vsock.ts';
import type { VsockConfig } from '../config/types.ts';
import type { EventLoop } from '../loop/event-loop.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { HostSocket } from './host-socket.ts';
import { UnixStreams } from './unix-streams.ts';

/** A vsock device, and what of it outlives the device's own interest. */
export interface Vsock {
  readonly device: VsockDevice;
  /** Closes all connections and removes the socket's file: the machine has ended. */
  close(): void;
}

/**
 * Makes the vsock device of a virtual machine, and the UNIX socket at which the host asks for connections.
 * @throws ConfigError where the socket's file cannot be made
 */
export function createVsock(config: VsockConfig, loop: EventLoop, memory: HostMemory): Vsock {
  const socket = new HostSocket(loop.arena, config.udsPath);
  const streams = new UnixStreams(loop, memory, socket);
  const device = new VsockDevice(config.guestCid, streams);
  const close = (): void => {
    streams.stop();
    socket.close();
  };
  return { device, close };
}
