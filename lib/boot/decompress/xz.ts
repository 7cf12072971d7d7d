import { crc32 } from 'node:zlib';
import { decodeBcjX86 } from './bcj-x86.ts';
import { CorruptDataError, UnsupportedCompressionError } from './errors.ts';
import { LzmaDecoder } from './lzma.ts';

/*
 * The .xz container (xz-file-format 1.2.1), as far as the kernel's build uses it (scripts/xz_wrap.sh): LZMA2, before it perhaps the
 * x86 filter, CRC32. Several blocks are possible, since xz 5.6 works with several threads. The index and the footer after the last
 * block repeat what the blocks have said, and are not read.
 */

/** §2.1.1.1: the header's magic bytes. */
const XZ_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] as const;
const STREAM_HEADER_SIZE = 12;

/** §2.1.1.2: the check's type. */
const CHECK_CRC32 = 0x01;
/** By check type: the size of the check field in bytes. */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64] as const;

/** §5.3: filter ids. */
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;

/** §3.1.2, block flags. */
const BLOCK_FILTER_COUNT_MASK = 0x03;
const BLOCK_FLAGS_RESERVED = 0x3c;
const BLOCK_COMPRESSED_SIZE_PRESENT = 0x40;
const BLOCK_UNCOMPRESSED_SIZE_PRESENT = 0x80;

/** LZMA2's limit of `lc + lp` (xz-file-format §5.3.1). */
const LZMA2_LITERAL_BITS_MAX = 4;

function corrupt(what: string): never {
  throw new CorruptDataError('xz', what);
}

/** Whether `input` begins as an .xz stream. */
export function isXz(input: Uint8Array): boolean {
  return XZ_MAGIC.every((byte, i) => input[i] === byte);
}

function crc32Of(bytes: Uint8Array, start: number, end: number): number {
  return crc32(bytes.subarray(start, end));
}

interface BlockHeader {
  /** Offset in the input of the block's data. */
  readonly dataStart: number;
  /** The x86 filter's start offset, where there is such a filter. */
  readonly x86Origin: number | undefined;
}

/** Reads §3.1, the block header at `start`. */
function readBlockHeader(input: Uint8Array, view: DataView, start: number): BlockHeader {
  const size = (input[start]! + 1) * 4;
  const crcAt = start + size - 4;
  if (crcAt + 4 > input.length) corrupt('a block header is cut off');
  if (crc32Of(input, start, crcAt) !== view.getUint32(crcAt, true)) corrupt('a block header fails its CRC32');
  let at = start + 1;
  const readMultibyte = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      if (at >= crcAt || scale > 2 ** 49) corrupt('a block header holds a number that is too long');
      const byte = input[at++]!;
      value += (byte & 0x7f) * scale;
      if ((byte & 0x80) === 0) return value;
    }
  };
  const flags = input[at++]!;
  if ((flags & BLOCK_FLAGS_RESERVED) !== 0) throw new UnsupportedCompressionError('xz with unknown block flags');
  if ((flags & BLOCK_COMPRESSED_SIZE_PRESENT) !== 0) readMultibyte();
  if ((flags & BLOCK_UNCOMPRESSED_SIZE_PRESENT) !== 0) readMultibyte();
  const filterCount = (flags & BLOCK_FILTER_COUNT_MASK) + 1;
  let x86Origin: number | undefined;
  for (let i = 0; i < filterCount; i++) {
    const id = readMultibyte();
    const propertiesSize = readMultibyte();
    if (propertiesSize > crcAt - at) corrupt('a block header holds a filter that is cut off');
    const isLast = i === filterCount - 1;
    if (id === FILTER_X86 && i === 0 && !isLast && (propertiesSize === 0 || propertiesSize === 4)) {
      x86Origin = propertiesSize === 4 ? view.getUint32(at, true) : 0;
    } else if (id !== FILTER_LZMA2 || !isLast || propertiesSize !== 1) {
      throw new UnsupportedCompressionError(`xz with filter 0x${id.toString(16)}`);
    }
    at += propertiesSize;
  }
  return { dataStart: start + size, x86Origin };
}

/** Decodes LZMA2 (§5.3.1) from `start` into `output` at `outStart`. Returns both positions after it. */
function decodeLzma2(
  input: Uint8Array,
  start: number,
  output: Uint8Array,
  outStart: number,
): { readonly source: number; readonly target: number } {
  const decoder = new LzmaDecoder();
  let source = start;
  let target = outStart;
  let dictionaryStart = -1;
  let needProperties = true;
  for (;;) {
    if (source >= input.length) corrupt('a block is cut off');
    const control = input[source++]!;
    if (control === 0x00) return { source, target };
    const isLzma = control >= 0x80;
    if (control === 0x01 || control >= 0xe0) {
      dictionaryStart = target;
      needProperties = true;
    } else if (dictionaryStart < 0 || (control > 0x02 && !isLzma)) {
      corrupt(`chunk of kind 0x${control.toString(16)} where none may be`);
    }
    if (input.length - source < 5) corrupt('a chunk is cut off');
    const sizeLow = ((input[source]! << 8) | input[source + 1]!) + 1;
    source += 2;
    const size = isLzma ? sizeLow + ((control & 0x1f) << 16) : sizeLow;
    if (size > output.length - target) corrupt('it unpacks to more than its announced size');
    if (!isLzma) {
      if (size > input.length - source) corrupt('a chunk is cut off');
      output.set(input.subarray(source, source + size), target);
      source += size;
      target += size;
      continue;
    }
    const end = source + 2 + ((input[source]! << 8) | input[source + 1]!) + 1 + (control >= 0xc0 ? 1 : 0);
    source += 2;
    if (end > input.length) corrupt('a chunk is cut off');
    if (control >= 0xc0) {
      decoder.setProperties(input[source++]!, LZMA2_LITERAL_BITS_MAX);
      needProperties = false;
    } else if (needProperties) {
      corrupt('a chunk has no properties');
    } else if (control >= 0xa0) {
      decoder.resetState();
    }
    const reached = decoder.decode(input, source, end, output, target, target + size, dictionaryStart);
    if (reached !== target + size || decoder.inputPosition !== end || !decoder.isFlushed) {
      corrupt('a chunk has another size than it says');
    }
    source = end;
    target = reached;
  }
}

/**
 * Decodes an .xz stream into `output`.
 *
 * @returns bytes written
 * @throws CorruptDataError, also where a block's CRC32 is wrong (other checks are not computed)
 * @throws UnsupportedCompressionError for filters other than LZMA2 and x86
 */
export function decodeXz(input: Uint8Array, output: Uint8Array): number {
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  if (input.length < STREAM_HEADER_SIZE || !isXz(input)) corrupt('no stream header');
  if (crc32Of(input, 6, 8) !== view.getUint32(8, true)) corrupt('the stream header fails its CRC32');
  const check = input[7]!;
  if (input[6] !== 0 || check > 0x0f) throw new UnsupportedCompressionError('xz with unknown stream flags');
  let source = STREAM_HEADER_SIZE;
  let target = 0;
  for (;;) {
    if (source >= input.length) corrupt('the index is missing');
    // §4.1: a zero where a block header's size would be begins the index.
    if (input[source] === 0) return target;
    const blockStart = source;
    const header = readBlockHeader(input, view, source);
    const outStart = target;
    ({ source, target } = decodeLzma2(input, header.dataStart, output, outStart));
    if (header.x86Origin !== undefined) decodeBcjX86(output, outStart, target, header.x86Origin);
    // §3.3: padding to a multiple of four bytes.
    source += -(source - blockStart) & 3;
    const checkSize = CHECK_SIZES[check]!;
    if (checkSize > input.length - source) corrupt('a check is cut off');
    if (check === CHECK_CRC32 && crc32Of(output, outStart, target) !== view.getUint32(source, true)) {
      corrupt('a block fails its CRC32');
    }
    source += checkSize;
  }
}
