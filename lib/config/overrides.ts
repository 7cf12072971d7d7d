import { resolve } from 'node:path';
import { MIB } from '../memory/layout.ts';
import { valueAt } from './built.ts';
import { type JsonPath, toPointer } from './json.ts';
import type { Problem } from './problems.ts';
import { parseSize } from './size.ts';
import type { Transport } from './types.ts';

/** Values of command-line options that stand for keys of the configuration file or override them. */
export interface Overrides {
  readonly kernel?: string | undefined;
  readonly initrd?: string | undefined;
  readonly cmdline?: string | undefined;
  readonly memory?: string | undefined;
  readonly cpus?: string | undefined;
  readonly smt?: boolean | undefined;
  readonly 'huge-pages'?: string | undefined;
  readonly 'cpu-template'?: string | undefined;
  readonly 'track-dirty-pages'?: boolean | undefined;
  readonly transport?: string | undefined;
  readonly 'enable-pci'?: boolean | undefined;
  readonly serial?: string | undefined;
  readonly console?: string | undefined;
  readonly net?: readonly string[] | undefined;
  readonly 'metrics-path'?: string | undefined;
  readonly 'log-path'?: string | undefined;
  readonly 'log-level'?: string | undefined;
  readonly 'log-format'?: string | undefined;
  readonly 'show-level'?: boolean | undefined;
  readonly 'show-log-origin'?: boolean | undefined;
  readonly module?: string | undefined;
}

export type OverrideName = keyof Overrides;

interface Assignment {
  readonly path: JsonPath;
  readonly value: unknown;
}

class BadOption extends Error {
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

type Convert<T> = (value: T, cwd: string) => readonly Assignment[];

const as =
  <T>(...path: JsonPath): Convert<T> =>
  (value) => [{ path, value }];

const asPath =
  (...path: JsonPath): Convert<string> =>
  (value, cwd) => [{ path, value: value === '' ? '' : resolve(cwd, value) }];

/** One line for each option: which keys it sets, and how. */
const CONVERSIONS: { readonly [K in OverrideName]: Convert<NonNullable<Overrides[K]>> } = {
  kernel: asPath('boot-source', 'kernel_image_path'),
  initrd: asPath('boot-source', 'initrd_path'),
  cmdline: as('boot-source', 'boot_args'),
  memory: (value) => [{ path: ['machine-config', 'mem_size_mib'], value: memoryMib(value) }],
  cpus: (value) => [{ path: ['machine-config', 'vcpu_count'], value: wholeNumber(value) }],
  smt: as('machine-config', 'smt'),
  'huge-pages': as('machine-config', 'huge_pages'),
  'cpu-template': as('machine-config', 'cpu_template'),
  'track-dirty-pages': as('machine-config', 'track_dirty_pages'),
  transport: as('machine-config', 'transport'),
  'enable-pci': (value) => [{ path: ['machine-config', 'transport'], value: transportOf(value) }],
  serial: (value, cwd) => consoleEnd('serial', 'serial_out_path', value, cwd),
  // `virtio`: at the terminal. `serial`: there is none.
  console: (value, cwd) =>
    consoleEnd('console', 'console_out_path', value === 'virtio' ? 'stdio' : value === 'serial' ? 'none' : value, cwd),
  net: (values, cwd) => [
    { path: ['network-interfaces'], value: values.map((text, index) => networkInterface(text, index, cwd)) },
  ],
  'metrics-path': asPath('metrics', 'metrics_path'),
  'log-path': asPath('logger', 'log_path'),
  'log-level': as('logger', 'level'),
  'log-format': as('logger', 'format'),
  'show-level': as('logger', 'show_level'),
  'show-log-origin': as('logger', 'show_log_origin'),
  module: as('logger', 'module'),
};

function transportOf(isPci: boolean): Transport {
  return isPci ? 'pci' : 'mmio';
}

/** @param value `stdio`, `none` or a path */
function consoleEnd(section: string, pathKey: string, value: string, cwd: string): readonly Assignment[] {
  const isMode = value === 'stdio' || value === 'none';
  const path = isMode ? null : value === '' ? '' : resolve(cwd, value);
  return [
    { path: [section, 'mode'], value: isMode ? value : 'file' },
    { path: [section, pathKey], value: path },
  ];
}

function memoryMib(text: string): number {
  const size = parseSize(text);
  if (size === undefined) throw new BadOption(`${JSON.stringify(text)} is not a size`, 'give it as 256M or 2G');
  if (size % MIB !== 0) throw new BadOption(`${text} is not a multiple of 1 MiB`, 'give it as 256M or 2G');
  return size / MIB;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new BadOption(`must be a whole number, not ${JSON.stringify(text)}`);
  return Number(text);
}

/** `user` or a tap's name, and then, each after a comma, what else the interface is to have. */
function networkInterface(text: string, index: number, cwd: string): Record<string, unknown> {
  const [name, ...settings] = text.split(',') as [string, ...string[]];
  const isUser = name === 'user';
  const passt: Record<string, unknown> = {};
  const made: Record<string, unknown> = { iface_id: `eth${index}`, ...(isUser ? { passt } : { host_dev_name: name }) };
  for (const setting of settings) {
    const [key, value = ''] = setting.split(/=(.*)/s) as [string, string?];
    if (key === 'mac') made.guest_mac = value;
    else if (key === 'mtu') made.mtu = wholeNumber(value);
    else if (isUser && key === 'tcp') passt.tcp_ports = [...((passt.tcp_ports as string[] | undefined) ?? []), value];
    else if (isUser && key === 'udp') passt.udp_ports = [...((passt.udp_ports as string[] | undefined) ?? []), value];
    else if (isUser && key === 'socket') passt.socket = value === '' ? '' : resolve(cwd, value);
    else {
      const known = isUser
        ? 'user takes tcp=PORTS, udp=PORTS, socket=PATH, mac=ADDRESS and mtu=N'
        : 'a tap takes mac=ADDRESS and mtu=N';
      throw new BadOption(`unknown setting ${JSON.stringify(setting)}`, known);
    }
  }
  return made;
}

/**
 * Sets in `document` what the options say.
 * @param document a parsed configuration file; it is changed
 * @returns for each key that an option set, as a JSON pointer, the option's name; and the options that were wrong
 */
export function applyOverrides(
  document: Record<string, unknown>,
  overrides: Overrides,
  cwd: string,
): { readonly origins: ReadonlyMap<string, string>; readonly problems: readonly Problem[] } {
  const origins = new Map<string, string>();
  const problems: Problem[] = [];
  const { transport, 'enable-pci': isPci } = overrides;
  if (transport !== undefined && isPci !== undefined && transport !== transportOf(isPci)) {
    const option = isPci ? '--enable-pci' : '--no-enable-pci';
    const message = `contradicts --transport ${transport}`;
    problems.push({ kind: 'usage', where: option, message, hint: 'leave one of them out' });
  }
  for (const name of Object.keys(CONVERSIONS) as OverrideName[]) {
    const value = overrides[name];
    if (value === undefined) continue;
    try {
      for (const assignment of (CONVERSIONS[name] as Convert<string | boolean | readonly string[]>)(value, cwd)) {
        if (assign(document, assignment)) origins.set(toPointer(assignment.path), `--${name}`);
      }
    } catch (error) {
      if (!(error instanceof BadOption)) throw error;
      const hint = error.hint === undefined ? {} : { hint: error.hint };
      problems.push({ kind: 'usage', where: `--${name}`, message: error.message, ...hint });
    }
  }
  return { origins, problems };
}

/** Whether it could be set: a section of the wrong type stays as it is, for validation to refuse. */
function assign(document: Record<string, unknown>, { path, value }: Assignment): boolean {
  const [section, key] = path as [string, string?];
  if (key === undefined) {
    document[section] = value;
    return true;
  }
  const existing = valueAt(document, [section]);
  if (existing === undefined || existing === null) document[section] = { [key]: value };
  else if (typeof existing === 'object' && !Array.isArray(existing)) (existing as Record<string, unknown>)[key] = value;
  else return false;
  return true;
}
