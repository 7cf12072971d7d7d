import { CorruptDataError } from './errors.ts';
import { LzmaDecoder } from './lzma.ts';

/** The .lzma file's header: properties, dictionary size (4), uncompressed size (8; all ones where an end marker follows). */
const HEADER_SIZE = 13;
const DICTIONARY_SIZE_AT = 1;
const UNPACKED_SIZE_AT = 5;
const UNKNOWN_SIZE = 2 ** 64;
/** Larger than `properties` can be: (4 * 5 + 4) * 9 + 8. */
const PROPERTIES_END = 225;

/**
 * Whether `input` begins as an .lzma file. It has no magic number: properties in range, and a dictionary size that the tools write
 * (2ⁿ or 2ⁿ + 2ⁿ⁻¹).
 */
export function isLzmaAlone(input: Uint8Array): boolean {
  if (input.length < HEADER_SIZE || input[0]! >= PROPERTIES_END) return false;
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  const dictionarySize = view.getUint32(DICTIONARY_SIZE_AT, true);
  if (dictionarySize < 4096) return false;
  const unit = 2 ** Math.floor(Math.log2(dictionarySize));
  return dictionarySize === unit || dictionarySize === unit * 1.5;
}

/**
 * Decodes an .lzma file into `output`.
 *
 * @returns bytes written
 * @throws CorruptDataError
 */
export function decodeLzmaAlone(input: Uint8Array, output: Uint8Array): number {
  if (input.length < HEADER_SIZE) throw new CorruptDataError('LZMA', 'its header is cut off');
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  const size = view.getUint32(UNPACKED_SIZE_AT, true) + view.getUint32(UNPACKED_SIZE_AT + 4, true) * 2 ** 32;
  // 2⁶⁴ - 1 rounds to 2⁶⁴.
  const isKnown = size < UNKNOWN_SIZE;
  if (isKnown && size > output.length) {
    throw new CorruptDataError('LZMA', 'it unpacks to more than its announced size');
  }
  const decoder = new LzmaDecoder();
  decoder.setProperties(input[0]!);
  // Where the size is not known, an end marker may follow what fills `output`: it is not looked for.
  return decoder.decode(input, HEADER_SIZE, input.length, output, 0, isKnown ? size : output.length, 0);
}
