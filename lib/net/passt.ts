import { ConfigError, HostError } from '../errors.ts';
import {
  AF_UNIX,
  O_CLOEXEC,
  O_NONBLOCK,
  SOCK_STREAM,
  SYS_connect,
  SYS_socket,
  SYS_socketpair,
} from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';

/** `struct sockaddr_un` of unix(7): u16 family, then the path with its final NUL. */
const SOCKADDR_UN_SIZE = 110;
const PATH_START = 2;

/** What to do where it is not installed. */
export const PASST_HINT = 'install it (Debian: sudo apt install passt), or use a tap (host_dev_name)';

/** Ports of the host that are forwarded to the guest, each as passt spells it: `8080:80`, `127.0.0.1/8022:22`. */
export interface PasstOptions {
  readonly tcpPorts: readonly string[];
  readonly udpPorts: readonly string[];
  /** Bytes; what passt tells the guest by DHCP. */
  readonly mtu?: number | undefined;
}

/** A passt that was started, and our end of its socket. */
export interface Passt {
  /** A connected stream socket that does not block. */
  readonly fd: number;
  /**
   * Waits until it serves the network: then the ports that it was given are its own.
   * @throws ConfigError, HostError where it has ended instead, with what it said
   */
  ready(): Promise<void>;
}

/** What passt says of ports that are not to be understood; everything else that it refuses, this host refuses. */
const BAD_PORTS = /invalid port/i;

/**
 * Connects to a passt that runs already.
 * @param where its place in the configuration
 * @returns a connected stream socket that does not block
 * @throws ConfigError where nobody listens there
 */
export function connectStream(path: string, where: string): number {
  const bytes = Buffer.from(path);
  if (bytes.length + PATH_START >= SOCKADDR_UN_SIZE) {
    throw new ConfigError(`${path} is too long for a socket's path`, { where, hint: 'use at most 107 bytes' });
  }
  const fd = call('syscall', 'make a socket', SYS_socket, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0, 0, 0, 0);
  const address = new NativeBuffer(SOCKADDR_UN_SIZE);
  address.view.setUint16(0, AF_UNIX, true);
  address.bytes.set(bytes, PATH_START);
  const result = tryCall('syscall', SYS_connect, fd, address.address, SOCKADDR_UN_SIZE, 0, 0, 0);
  address.release();
  if (result < 0) {
    tryCall('close', fd);
    throw new ConfigError(`cannot connect to ${path} (${errnoName(-result)})`, {
      where,
      hint: `start passt first: passt --socket ${path}`,
    });
  }
  setNonBlocking(fd);
  return fd;
}

/**
 * Starts a passt of our own, which needs no privileges: it ends with us, however we end, as it does when its socket is closed.
 * @param where its place in the configuration
 * @throws HostError where there is none
 */
export function startPasst(options: PasstOptions, where: string): Passt {
  const [ours, theirs] = socketPair();
  const { spawn } = process.getBuiltinModule('node:child_process');
  const child = spawn('passt', passtArguments(options), {
    // It needs nothing of ours, which may hold secrets.
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'ignore', 'pipe', theirs],
  });
  tryCall('close', theirs);
  child.on('error', () => {});
  if (child.pid === undefined) {
    tryCall('close', ours);
    throw new HostError('passt is not installed', { where, hint: PASST_HINT });
  }
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = `${said}${chunk}`.slice(-1000);
  });
  const ended = new Promise<number | null>((resolve) => {
    child.on('close', (code) => resolve(code));
  });
  const ready = async () => {
    if ((await ended) === 0) return;
    const reason = `passt does not start: ${lastLine(said)}`;
    if (BAD_PORTS.test(said)) throw new ConfigError(reason, { where, hint: 'see passt(1) for how ports are given' });
    throw new HostError(reason, { where });
  };
  return { fd: ours, ready };
}

/**
 * passt(1): one connection, over descriptor 3. It goes to the background once it serves the network, so that what we have started is then over:
 * a child that ended while the guest runs would take system calls that we have given up by then.
 */
function passtArguments({ tcpPorts, udpPorts, mtu }: PasstOptions): string[] {
  const args = ['--quiet', '--stderr', '--one-off', '--fd', '3'];
  if (mtu !== undefined) args.push('--mtu', String(mtu));
  for (const ports of tcpPorts) args.push('--tcp-ports', ports);
  for (const ports of udpPorts) args.push('--udp-ports', ports);
  return args;
}

function socketPair(): [number, number] {
  const pair = new NativeBuffer(8);
  const type = SOCK_STREAM | O_CLOEXEC;
  call('syscall', 'make a pair of sockets', SYS_socketpair, AF_UNIX, type, 0, pair.address, 0, 0);
  const ours = pair.view.getInt32(0, true);
  const theirs = pair.view.getInt32(4, true);
  pair.release();
  setNonBlocking(ours);
  return [ours, theirs];
}

function setNonBlocking(fd: number): void {
  const F_SETFL = 4;
  call('fcntl', 'set up a socket', fd, F_SETFL, O_NONBLOCK);
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? '';
}
