import { ConfigError, HostError } from '../errors.ts';
import { EACCES, EBUSY, EINVAL, EPERM, O_CLOEXEC, O_NONBLOCK, O_RDWR, SYS_socket } from '../ffi/constants.ts';
import { errnoName, SystemError } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import {
  IFF_NO_PI,
  IFF_TAP,
  IFF_UP,
  IFF_VNET_HDR,
  ifreq,
  SIOCGIFFLAGS,
  SIOCSIFFLAGS,
  TUN_F_CSUM,
  TUN_F_USO4,
  TUN_F_USO6,
  TUNSETIFF,
  TUNSETOFFLOAD,
  TUNSETVNETHDRSZ,
} from './tun-layout.ts';

const TUN = '/dev/net/tun';
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | O_CLOEXEC;

export interface TapOptions {
  /** The network device's name. */
  readonly name: string;
  /** Bytes of the header before each frame. */
  readonly headerSize: number;
  /** Where the configuration names it, for errors: `/network-interfaces/0/host_dev_name`. */
  readonly where: string;
  readonly warn: (message: string) => void;
}

/** An open tap device: one that was there, or one that is made and goes with its descriptor. */
export class TapDevice {
  readonly fd: number;
  readonly name: string;
  /** Whether UDP segmentation offload is there (Linux 6.2). */
  readonly segmentsUdp: boolean;
  readonly #argument = new NativeBuffer(ifreq.size);

  /** @throws ConfigError where it is no tap, or another virtual machine has it; HostError where we may not use it */
  constructor({ name, headerSize, where, warn }: TapOptions) {
    this.name = name;
    this.fd = openTun(where);
    const socket = call('syscall', 'ask for network devices', SYS_socket, AF_INET, SOCK_DGRAM_CLOEXEC, 0, 0, 0, 0);
    try {
      const existed = this.#ask(socket, SIOCGIFFLAGS);
      this.#attach(where, existed);
      this.#argument.view.setInt32(0, headerSize, true);
      call('ioctl', `set up ${name}`, this.fd, TUNSETVNETHDRSZ, this.#argument.address);
      const all = TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6;
      this.segmentsUdp = tryCall('ioctl', this.fd, TUNSETOFFLOAD, all) === 0;
      this.setOffload(0);
      if (!this.#raise(socket, existed)) {
        warn(`${name} is down, so the guest reaches nobody; run: sudo ip link set ${name} up`);
      }
    } catch (error) {
      this.close();
      throw error;
    } finally {
      tryCall('close', socket);
    }
  }

  /** Says what we can be handed: `TUN_F_*`. */
  setOffload(flags: number): void {
    call('ioctl', `set the offloads of ${this.name}`, this.fd, TUNSETOFFLOAD, flags);
  }

  close(): void {
    tryCall('close', this.fd);
    this.#argument.release();
  }

  #attach(where: string, existed: boolean): void {
    const { name } = this;
    const argument = this.#argument;
    this.#name();
    ifreq.set(argument.view, 'ifr_flags', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    const result = tryCall('ioctl', this.fd, TUNSETIFF, argument.address);
    if (result >= 0) return;
    if (result === -EBUSY) {
      throw new ConfigError(`${name} is in use by another virtual machine or interface`, {
        where,
        hint: 'stop the other one, or name another tap',
      });
    }
    if (result === -EPERM) {
      const what = existed ? `use ${name}, which is another user's` : `make ${name}, which does not exist`;
      throw new HostError(`no permission to ${what}`, { where, hint: `run once: ${recipe(name)}` });
    }
    if (result === -EINVAL && existed) {
      throw new ConfigError(`${name} is not a tap device (or has several queues)`, {
        where,
        hint: `name another one, or make one: ${recipe('tap0')}`,
      });
    }
    throw new SystemError('ioctl', -result, `attach to ${name}`, { where });
  }

  /** A tap of our own is brought up; whoever made one before decides that. @returns whether it is up */
  #raise(socket: number, existed: boolean): boolean {
    if (!this.#ask(socket, SIOCGIFFLAGS)) return true;
    const { view } = this.#argument;
    const flags = ifreq.get(view, 'ifr_flags');
    if ((flags & IFF_UP) !== 0) return true;
    ifreq.set(view, 'ifr_flags', flags | IFF_UP);
    return !existed && tryCall('ioctl', socket, SIOCSIFFLAGS, this.#argument.address) === 0;
  }

  /** Asks for the device by name. @returns whether there is one */
  #ask(socket: number, request: number): boolean {
    this.#name();
    return tryCall('ioctl', socket, request, this.#argument.address) === 0;
  }

  #name(): void {
    const { bytes, view } = this.#argument;
    bytes.fill(0);
    ifreq.set(view, 'ifr_name', Buffer.from(this.name));
  }
}

function recipe(name: string): string {
  return `sudo ip tuntap add dev ${name} mode tap user $USER && sudo ip link set ${name} up`;
}

function openTun(where: string): number {
  const fd = tryCall('open', TUN, O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd >= 0) return fd;
  const hint =
    fd === -EACCES || fd === -EPERM
      ? `give yourself access: sudo chmod a+rw ${TUN}`
      : 'load the module: sudo modprobe tun (in a container: pass the device in)';
  throw new HostError(`cannot open ${TUN} (${errnoName(-fd)})`, { where, hint });
}
