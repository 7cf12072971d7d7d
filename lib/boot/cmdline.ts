import { ConfigError } from '../errors.ts';
import { hex } from './bytes.ts';

/** x86's `COMMAND_LINE_SIZE` without the final zero: what a vmlinux takes, which has no header to say otherwise. */
export const CMDLINE_SIZE = 2048 - 1;

/** Printable ASCII. Linux takes other bytes, but shows and splits them as it likes. */
const FIRST_PRINTABLE = 0x20;
const LAST_PRINTABLE = 0x7e;

/** A kernel command line in its two parts (Linux: Documentation/admin-guide/kernel-parameters.rst). */
interface CommandLineParts {
  /** Parameters of the kernel. */
  readonly kernel: string;
  /** From the first unquoted `--` on: arguments of init, which the kernel hands on untouched. Empty where there are none. */
  readonly init: string;
}

/** Splits at blanks outside double quotes, as the kernel's `next_arg` does. Gives each word's place. */
function words(cmdline: string): { readonly text: string; readonly start: number }[] {
  const found: { text: string; start: number }[] = [];
  let start = -1;
  let isQuoted = false;
  for (let i = 0; i <= cmdline.length; i++) {
    const character = cmdline[i];
    const isEnd =
      character === undefined || (!isQuoted && (character === ' ' || character === '\t' || character === '\n'));
    if (character === '"') isQuoted = !isQuoted;
    if (!isEnd && start < 0) start = i;
    if (isEnd && start >= 0) {
      found.push({ text: cmdline.slice(start, i), start });
      start = -1;
    }
  }
  return found;
}

function split(cmdline: string): CommandLineParts {
  const separator = words(cmdline).find((word) => word.text === '--');
  if (separator === undefined) return { kernel: cmdline.trim(), init: '' };
  return { kernel: cmdline.slice(0, separator.start).trim(), init: cmdline.slice(separator.start).trim() };
}

/** The kernel's own parameters in the line, in order: not what follows `--`. */
export function kernelParameters(cmdline: string): string[] {
  return words(split(cmdline).kernel).map((word) => word.text);
}

/** The last value that the line gives the parameter: `''` where it stands alone, `undefined` where it is not there. */
export function parameterValue(cmdline: string, name: string): string | undefined {
  let value: string | undefined;
  for (const parameter of kernelParameters(cmdline)) {
    const equals = parameter.indexOf('=');
    if ((equals < 0 ? parameter : parameter.slice(0, equals)) !== name) continue;
    value = equals < 0 ? '' : parameter.slice(equals + 1).replaceAll('"', '');
  }
  return value;
}

/** Adds parameters after the kernel's own, before init's arguments. */
export function addParameters(cmdline: string, parameters: readonly string[]): string {
  const { kernel, init } = split(cmdline);
  return [kernel, ...parameters, init].filter((part) => part !== '').join(' ');
}

/**
 * `virtio_mmio.device=` (Linux: drivers/virtio/virtio_mmio.c), for kernels that do not look at ACPI.
 * @param size of the window, in bytes: a multiple of 1 KiB
 */
export function virtioMmioParameter(address: number, size: number, irq: number): string {
  return `virtio_mmio.device=${size / 1024}K@${hex(address)}:${irq}`;
}

/**
 * The bytes of a command line, with their final zero.
 *
 * @param limit the most that the kernel takes, without the zero
 * @throws ConfigError where it is longer, or has a character that is not printable ASCII
 */
export function encodeCmdline(cmdline: string, limit: number): Uint8Array {
  for (let i = 0; i < cmdline.length; i++) {
    const code = cmdline.charCodeAt(i);
    if (code < FIRST_PRINTABLE || code > LAST_PRINTABLE) {
      throw new ConfigError(
        `the kernel command line has a character that is not printable ASCII (${hex(code)}, at ${i + 1})`,
        {
          where: '/boot-source/boot_args',
          hint: 'remove it',
        },
      );
    }
  }
  if (cmdline.length > limit) {
    throw new ConfigError(
      `the kernel command line is too long: ${cmdline.length} characters with what mvm adds, and the kernel takes ${limit}`,
      { where: '/boot-source/boot_args', hint: 'shorten it' },
    );
  }
  return Buffer.from(`${cmdline}\0`, 'latin1');
}
