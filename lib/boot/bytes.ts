/* Small things that every table and every image needs. */

/** Guest addresses as messages show them. */
export function hex(address: number): string {
  return `0x${address.toString(16)}`;
}

/** Sizes as messages show them: in MiB, rounded up, or in bytes below one. */
export function sizeText(bytes: number): string {
  return bytes < 2 ** 20 ? `${bytes} bytes` : `${Math.ceil(bytes / 2 ** 20)} MiB`;
}

/** The next multiple of `alignment` at or above `value`. */
export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/** The last multiple of `alignment` at or below `value`. */
export function alignDown(value: number, alignment: number): number {
  return Math.floor(value / alignment) * alignment;
}

/** The 64-bit little-endian number at `offset`: exact below 2⁵³; larger ones are rounded, and fail every check of range. */
export function readU64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

/** Writes a number below 2⁵³ as 64 bits, little-endian. */
export function writeU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

/** Writes ASCII, without a final zero. */
export function writeText(bytes: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
}

/** The byte that makes a table's bytes add up to 0 modulo 256 (MP tables, ACPI tables). */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += bytes[i]!;
  return -sum & 0xff;
}
