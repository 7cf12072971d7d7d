import type { ChildProcess } from 'node:child_process';
import { ConfigError, HostError } from '../errors.ts';
import { O_CLOEXEC, O_NONBLOCK } from '../ffi/constants.ts';
import { errnoName } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';

const SYS_socket = 41;
const SYS_connect = 42;
const SYS_socketpair = 53;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
/** `struct sockaddr_un` of unix(7): u16 family, then the path with its final NUL. */
const SOCKADDR_UN_SIZE = 110;
const PATH_START = 2;

/** Ports of the host that are forwarded to the guest, each as passt spells it: `8080:80`, `127.0.0.1/8022:22`. */
export interface PasstOptions {
  readonly tcpPorts: readonly string[];
  readonly udpPorts: readonly string[];
  /** Bytes; what passt tells the guest by DHCP. */
  readonly mtu?: number | undefined;
}

/** A running passt, and our end of its socket. */
export interface Passt {
  /** A connected stream socket that does not block. */
  readonly fd: number;
  /** The process; it ends when the socket is closed. */
  readonly process: ChildProcess;
}

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
    stdio: ['ignore', 'ignore', 'pipe', theirs],
  });
  tryCall('close', theirs);
  child.on('error', () => {});
  if (child.pid === undefined) {
    tryCall('close', ours);
    throw new HostError('passt is not installed', {
      where,
      hint: 'install it (Debian: sudo apt install passt), or use a tap (host_dev_name)',
    });
  }
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = `${said}${chunk}`.slice(-1000);
  });
  child.on('close', (code) => {
    if (code !== 0 && code !== null) warn(`passt ended with status ${code}: ${lastLine(said)}`);
  });
  // Neither the process nor its words keep us from ending.
  child.unref();
  (child.stderr as unknown as { unref(): void } | null)?.unref();
  return { fd: ours, process: child };
}

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
