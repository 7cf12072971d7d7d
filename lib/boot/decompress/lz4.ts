import { CorruptDataError } from './errors.ts';

/** `ARCHIVE_MAGICNUMBER`, the legacy frame's magic (LZ4 Frame Format, "Legacy frame"), little-endian. */
export const LZ4_LEGACY_MAGIC = 0x184c_2102;

/** Matches are at least this long (LZ4 Block Format, "Matches"). */
const MIN_MATCH = 4;
/** From this length on, one `copyWithin` beats a loop over bytes. */
const LONG_COPY = 64;

function corrupt(what: string): never {
  throw new CorruptDataError('LZ4', what);
}

/**
 * Decodes one LZ4 block, `input[start, end)`, to `output` at `outStart`. Matches reach back to `outStart` at most, since the blocks
 * of a legacy frame are independent.
 *
 * @returns the offset in `output` after the last byte written
 * @throws CorruptDataError where the block reaches outside either buffer
 */
export function decodeLz4Block(
  input: Uint8Array,
  start: number,
  end: number,
  output: Uint8Array,
  outStart: number,
): number {
  const outEnd = output.length;
  let source = start;
  let target = outStart;
  while (source < end) {
    const token = input[source++]!;
    let literals = token >>> 4;
    if (literals === 15) {
      let byte = 255;
      while (byte === 255 && source < end) {
        byte = input[source++]!;
        literals += byte;
      }
    }
    if (literals > end - source || literals > outEnd - target) corrupt('literals reach outside the block');
    if (literals >= LONG_COPY) {
      output.set(input.subarray(source, source + literals), target);
      source += literals;
      target += literals;
    } else {
      for (const stop = target + literals; target < stop; ) output[target++] = input[source++]!;
    }
    // The last sequence is literals only.
    if (source >= end) break;
    if (end - source < 2) corrupt('an offset is cut off');
    const offset = input[source]! | (input[source + 1]! << 8);
    source += 2;
    let length = token & 15;
    if (length === 15) {
      let byte = 255;
      while (byte === 255 && source < end) {
        byte = input[source++]!;
        length += byte;
      }
    }
    length += MIN_MATCH;
    if (offset === 0 || offset > target - outStart) corrupt('an offset reaches before the block');
    if (length > outEnd - target) corrupt('it unpacks to more than its announced size');
    if (length >= LONG_COPY && offset >= length) {
      output.copyWithin(target, target - offset, target - offset + length);
      target += length;
    } else if (length >= LONG_COPY && offset === 1) {
      output.fill(output[target - 1]!, target, target + length);
      target += length;
    } else {
      let from = target - offset;
      for (const stop = target + length; target < stop; ) output[target++] = output[from++]!;
    }
  }
  return target;
}

/**
 * Decodes a legacy LZ4 frame (`lz4 -l`, what the kernel's build makes), or several of them, into `output`.
 *
 * @returns bytes written
 * @throws CorruptDataError
 */
export function decodeLz4Legacy(input: Uint8Array, output: Uint8Array): number {
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  if (input.length < 4 || view.getUint32(0, true) !== LZ4_LEGACY_MAGIC) corrupt('no legacy frame');
  let source = 4;
  let target = 0;
  while (input.length - source >= 4) {
    const size = view.getUint32(source, true);
    source += 4;
    if (size === LZ4_LEGACY_MAGIC) continue;
    if (size === 0) break;
    if (size > input.length - source) corrupt('a block is cut off');
    target = decodeLz4Block(input, source, source + size, output, target);
    source += size;
  }
  return target;
}
