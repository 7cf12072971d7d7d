/** The longest command that is looked for the end of, in bytes: Firecracker's limit. */
export const MAX_COMMAND_SIZE = 32;
const NEWLINE = 0x0a;
const MAX_PORT = 0xffff_ffff;

/** Bytes up to and with the first newline; 0: there is none. */
export function commandLength(bytes: Uint8Array, size: number): number {
  for (let i = 0; i < size; i++) if (bytes[i] === NEWLINE) return i + 1;
  return 0;
}

/**
 * What Firecracker takes for a wish to be connected with the guest: `CONNECT <port>`, in any case, with any white space, whatever follows.
 * @returns the port, or undefined where it is none
 */
export function parseConnect(command: string): number | undefined {
  const [word, port] = command.trim().split(/\s+/);
  if (word?.toLowerCase() !== 'connect' || port === undefined || !/^\+?\d+$/.test(port)) return undefined;
  const value = Number(port);
  return value <= MAX_PORT ? value : undefined;
}
