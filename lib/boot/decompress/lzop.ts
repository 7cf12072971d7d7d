import { CorruptDataError } from './errors.ts';

/*
 * The lzop file format, as far as the kernel's build uses it (`lzop -9`), and LZO1X inside it, after the kernel's description of the
 * stream (Documentation/staging/lzo.rst; bitstream version 0). lzop's check sums of the data (Adler-32) are not computed: the
 * kernel's own decoder leaves them out too.
 */

const LZOP_MAGIC = [0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a] as const;

/** From this version of the format on, the header has a level, the version needed to extract, and 64 bits of time. */
const VERSION_WITH_LEVEL = 0x0940;
/** Flags of the header. */
const F_ADLER32_D = 0x0001;
const F_ADLER32_C = 0x0002;
const F_H_EXTRA_FIELD = 0x0040;
const F_CRC32_D = 0x0100;
const F_CRC32_C = 0x0200;
const F_H_FILTER = 0x0800;

/** Where the reading stands, in both buffers. */
interface Positions {
  source: number;
  target: number;
}

function corrupt(what: string): never {
  throw new CorruptDataError('LZO', what);
}

/** Whether `input` begins as an lzop file. */
export function isLzop(input: Uint8Array): boolean {
  return LZOP_MAGIC.every((byte, i) => input[i] === byte);
}

/** Decodes one LZO1X block, `input[start, end)`, to `output[outStart, outEnd)`, which it must fill. @throws CorruptDataError */
export function decodeLzo1x(
  input: Uint8Array,
  start: number,
  end: number,
  output: Uint8Array,
  outStart: number,
  outEnd: number,
): void {
  let source = start;
  let target = outStart;

  /** A length that begins in `bits` and goes on in the following bytes where those are zero: each zero byte stands for 255. */
  const extend = (bits: number, full: number): number => {
    if (bits !== 0) return bits;
    let length = full;
    while (source < end && input[source] === 0) {
      length += 255;
      source++;
    }
    if (source >= end) corrupt('a length is cut off');
    return length + input[source++]!;
  };
  const copyLiterals = (count: number): void => {
    if (count > end - source || count > outEnd - target) corrupt('literals reach outside the block');
    for (const stop = target + count; target < stop; ) output[target++] = input[source++]!;
  };

  // What the instruction before copied: 0 to 3 literals, or (4) a longer run of them.
  let state = 0;
  const first = start < end ? input[start]! : corrupt('a block is empty');
  if (first > 17) {
    source++;
    copyLiterals(first - 17);
    state = Math.min(first - 17, 4);
  }
  for (;;) {
    if (source >= end) corrupt('a block has no end');
    const instruction = input[source++]!;
    if (instruction < 16 && state === 0) {
      copyLiterals(3 + extend(instruction, 15));
      state = 4;
      continue;
    }
    const isLong = instruction >= 16 && instruction < 64;
    // Distances of 16 bits come after the length's bytes, others are one byte.
    let length = 0;
    let distance = 0;
    if (isLong) {
      length = 2 + (instruction < 32 ? extend(instruction & 7, 7) : extend(instruction & 31, 31));
      if (end - source < 2) corrupt('a distance is cut off');
      const operand = input[source]! | (input[source + 1]! << 8);
      source += 2;
      distance = (operand >> 2) + (instruction < 32 ? 16384 + ((instruction & 8) << 11) : 1);
      if (instruction < 32 && distance === 16384) break;
      state = operand & 3;
    } else {
      if (source >= end) corrupt('a distance is cut off');
      const high = input[source++]!;
      if (instruction < 16) {
        length = state === 4 ? 3 : 2;
        distance = (high << 2) + (instruction >> 2) + (state === 4 ? 2049 : 1);
      } else {
        length = instruction < 128 ? 3 + ((instruction >> 5) & 1) : 5 + ((instruction >> 5) & 3);
        distance = (high << 3) + ((instruction >> 2) & 7) + 1;
      }
      state = instruction & 3;
    }
    if (distance > target - outStart) corrupt('a match reaches before the block');
    if (length > outEnd - target) corrupt('a block unpacks to more than it says');
    let from = target - distance;
    for (const stop = target + length; target < stop; ) output[target++] = output[from++]!;
    copyLiterals(state);
  }
  if (source !== end || target !== outEnd) corrupt('a block has another size than it says');
}

/** Reads the file's header. Returns the offset after it, and its flags. */
function readHeader(input: Uint8Array, view: DataView): { readonly end: number; readonly flags: number } {
  // The longest header that has an empty name.
  if (input.length < 48 || !isLzop(input)) corrupt('no lzop header');
  let at = LZOP_MAGIC.length;
  const hasLevel = view.getUint16(at) >= VERSION_WITH_LEVEL;
  // The version, the library's version, the version needed; the method, the level.
  at += 2 + 2 + (hasLevel ? 2 : 0) + 1 + (hasLevel ? 1 : 0);
  const flags = view.getUint32(at);
  if ((flags & F_H_EXTRA_FIELD) !== 0) corrupt('its header has an extra field');
  // The flags, the filter, the mode, the time.
  at += 4 + ((flags & F_H_FILTER) !== 0 ? 4 : 0) + 4 + (hasLevel ? 8 : 4);
  // The name and its length; the header's check sum.
  at += 1 + input[at]! + 4;
  if (at > input.length) corrupt('its header is cut off');
  return { end: at, flags };
}

/**
 * Decodes an lzop file into `output`.
 *
 * @returns bytes written
 * @throws CorruptDataError
 */
export function decodeLzop(input: Uint8Array, output: Uint8Array): number {
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  const { end: headerEnd, flags } = readHeader(input, view);
  const rawChecks = ((flags & F_ADLER32_D) !== 0 ? 4 : 0) + ((flags & F_CRC32_D) !== 0 ? 4 : 0);
  const packedChecks = ((flags & F_ADLER32_C) !== 0 ? 4 : 0) + ((flags & F_CRC32_C) !== 0 ? 4 : 0);
  const at: Positions = { source: headerEnd, target: 0 };
  for (;;) {
    if (input.length - at.source < 4) corrupt('its last block is missing');
    const size = view.getUint32(at.source);
    if (size === 0) return at.target;
    if (input.length - at.source < 8) corrupt('a block is cut off');
    const packedSize = view.getUint32(at.source + 4);
    if (packedSize > size) corrupt('a block is larger packed than unpacked');
    // Stored blocks have no check sum of the packed form.
    at.source += 8 + rawChecks + (packedSize < size ? packedChecks : 0);
    if (packedSize > input.length - at.source) corrupt('a block is cut off');
    if (size > output.length - at.target) corrupt('it unpacks to more than its announced size');
    if (packedSize === size) {
      output.set(input.subarray(at.source, at.source + size), at.target);
    } else {
      decodeLzo1x(input, at.source, at.source + packedSize, output, at.target, at.target + size);
    }
    at.source += packedSize;
    at.target += size;
  }
}
