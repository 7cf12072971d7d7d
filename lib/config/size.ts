import { MIB } from '../memory/layout.ts';

const UNITS: Readonly<Record<string, number>> = { '': MIB, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * The bytes of a size such as `256M`, `1.5G`, `512MiB` or `256` (MiB, as in the file's `mem_size_mib`): powers of 1024, in
 * either case.
 * @returns undefined where it is not a size
 */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,9})?)\s*(?:([KMGT]?)(?:i?B)?)$/i.exec(text.trim());
  if (match === null) return undefined;
  // "12B" or "12iB" would be bytes: the unit is required before them.
  if (match[2] === '' && /b$/i.test(text)) return undefined;
  return Number(match[1]) * UNITS[match[2]!.toUpperCase()]!;
}

/** A size for people: the largest unit in which it is a whole number, or MiB with a decimal. */
export function formatSize(bytes: number): string {
  for (const unit of ['T', 'G', 'M', 'K'] as const) {
    const size = UNITS[unit]!;
    if (bytes >= size && bytes % size === 0) return `${bytes / size} ${unit}iB`;
  }
  return bytes < MIB ? `${bytes} bytes` : `${(bytes / MIB).toFixed(1)} MiB`;
}
