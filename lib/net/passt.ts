import type { ChildProcess } from 'node:child_process';
import { ConfigError, HostError } from '../errors.ts';
import { O_CLOEXEC, O_NONBLOCK, SYS_write } from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';

const SYS_socket = 41;
const SYS_connect = 42;
const SYS_recvfrom = 45;
const SYS_socketpair = 53;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const MSG_PEEK = 2;
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
  /** The process; it ends when the socket is closed. */
  readonly process: ChildProcess;
  /**
   * Waits until it serves the network: then the ports that it was given are its own.
   * @throws ConfigError, HostError where it has ended instead, with what it said
   */
  ready(): Promise<void>;
}

/** What passt says of ports that are not to be understood; everything else that it refuses, this host refuses. */
const BAD_PORTS = /invalid port/i;
/** A passt that has said nothing after so many milliseconds runs all the same: one for IPv6 alone answers no ARP. */
const READY_LIMIT = 1000;
const POLLIN = 0x001;

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
 * Starts a passt of our own, which needs no privileges: it ends with us, however we end.
 * @param where its place in the configuration
 * @param warn takes one line, where passt ends with an error
 * @throws HostError where there is none
 */
export function startPasst(options: PasstOptions, where: string, warn: (message: string) => void): Passt {
  const [ours, theirs] = socketPair();
  const { spawn } = process.getBuiltinModule('node:child_process');
  const child = spawn('passt', passtArguments(options), {
    // A terminal's Ctrl-C is not for passt: it ends when its socket closes.
    detached: true,
    // It needs nothing of ours, which may hold secrets.
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'ignore', 'pipe', theirs],
  });
  tryCall('close', theirs);
  child.on('error', () => {});
  if (child.pid === undefined) {
    tryCall('close', ours);
    throw new HostError('passt is not installed', {
      where,
      hint: PASST_HINT,
    });
  }
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = `${said}${chunk}`.slice(-1000);
  });
  let isStarting = false;
  const ended = new Promise<void>((resolve) => {
    child.on('close', (code) => {
      resolve();
      if (code !== 0 && code !== null && !isStarting) warn(`passt ended with status ${code}: ${lastLine(said)}`);
    });
  });
  const stderr = child.stderr as (typeof child.stderr & { ref(): void; unref(): void }) | null;
  // Neither the process nor its words keep us from ending.
  child.unref();
  stderr?.unref();
  const ready = async () => {
    isStarting = true;
    if (!answers(ours)) {
      child.ref();
      stderr?.ref();
      await ended;
      const reason = `passt does not start: ${lastLine(said)}`;
      if (BAD_PORTS.test(said)) throw new ConfigError(reason, { where, hint: 'see passt(1) for how ports are given' });
      throw new HostError(reason, { where });
    }
    isStarting = false;
  };
  return { fd: ours, process: child, ready };
}

/**
 * Asks at the other end of a network for some address (RFC 5227, an ARP probe), which passt answers whatever it is, once it runs. The answer is
 * left to the guest, to which it says nothing. Blocks meanwhile: the guest does not run yet.
 * @returns false where the other end has closed the connection
 */
function answers(fd: number): boolean {
  const buffer = new NativeBuffer(PROBE.length + 8);
  try {
    buffer.bytes.set(PROBE);
    // The first on this socket, so it takes all of it; where nobody is there any more, the wait tells.
    tryCall('syscall', SYS_write, fd, buffer.address, PROBE.length, 0, 0, 0);
    buffer.view.setInt32(PROBE.length, fd, true);
    buffer.view.setInt16(PROBE.length + 4, POLLIN, true);
    if (tryCall('poll', buffer.address + PROBE.length, 1, READY_LIMIT) === 0) return true;
    return tryCall('syscall', SYS_recvfrom, fd, buffer.address, 1, MSG_PEEK, 0, 0) > 0;
  } finally {
    buffer.release();
  }
}

/** Behind its length: broadcast, from nobody's address, ARP (Ethernet, IPv4), a request for 192.0.0.8, the dummy of RFC 7600. */
const PROBE = Buffer.from(
  ['0000003c', 'ffffffffffff', '020000000000', '0806', '0001', '0800', '06', '04', '0001']
    .concat('020000000000', '00000000', '000000000000', 'c0000008')
    .join('')
    .padEnd(2 * (4 + 60), '0'),
  'hex',
);

/** passt(1): in the foreground, one connection, over descriptor 3. */
function passtArguments({ tcpPorts, udpPorts, mtu }: PasstOptions): string[] {
  const args = ['--foreground', '--quiet', '--stderr', '--one-off', '--fd', '3'];
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
