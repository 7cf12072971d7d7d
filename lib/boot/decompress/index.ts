import { constants, gunzipSync, zstdDecompressSync } from 'node:zlib';
import { CorruptDataError, UnsupportedCompressionError } from './errors.ts';

import { decodeLz4Legacy, LZ4_LEGACY_MAGIC } from './lz4.ts';
import { decodeLzmaAlone, isLzmaAlone } from './lzma-alone.ts';
import { decodeLzop, isLzop } from './lzop.ts';
import { decodeXz, isXz } from './xz.ts';

export { CorruptDataError, UnsupportedCompressionError };

/** How a kernel's payload may be compressed: Linux's `CONFIG_KERNEL_*`. */
export type Compression = 'gzip' | 'bzip2' | 'lzma' | 'xz' | 'lzo' | 'lz4' | 'zstd';

const GZIP_MAGIC = 0x8b1f;
/** `BZh` */
const BZIP2_MAGIC = 0x68_5a42;
/** RFC 8878 §3.1.1 */
const ZSTD_MAGIC = 0xfd2f_b528;

/** The largest window that zstd's decoder is told to accept: 2³¹ bytes. The kernel's build (`zstd -22 --ultra`) asks for 2²⁷. */
const ZSTD_WINDOW_LOG_MAX = 31;

/** Tells a compression by its first bytes; `undefined` for any other data. */
export function detectCompression(input: Uint8Array): Compression | undefined {
  if (input.length < 4) return undefined;
  const magic = new DataView(input.buffer, input.byteOffset, input.length).getUint32(0, true);
  if ((magic & 0xffff) === GZIP_MAGIC) return 'gzip';
  if ((magic & 0xff_ffff) === BZIP2_MAGIC) return 'bzip2';
  if (magic === ZSTD_MAGIC) return 'zstd';
  if (magic === LZ4_LEGACY_MAGIC) return 'lz4';
  if (isXz(input)) return 'xz';
  if (isLzop(input)) return 'lzo';
  if (isLzmaAlone(input)) return 'lzma';
  return undefined;
}

/** What zlib throws for bad input carries a code; what it throws for an output larger than wished is this one. */
function zlibError(format: string, error: unknown): never {
  const code = (error as NodeJS.ErrnoException).code;
  const what =
    code === 'ERR_BUFFER_TOO_LARGE'
      ? 'it unpacks to more than its announced size'
      : (error as Error).message.toLowerCase();
  throw new CorruptDataError(format, what);
}

/**
 * Unpacks `input`, whose unpacked size is known to be `size` bytes.
 *
 * @param allocate gives the bytes to unpack into; not called for formats that node:zlib unpacks, which bring their own buffer
 * @returns exactly `size` bytes
 * @throws CorruptDataError where the data is damaged or has another size
 * @throws UnsupportedCompressionError for bzip2, and for filters of xz that kernels for x86 do not use
 */
export function decompress(
  compression: Compression,
  input: Uint8Array,
  size: number,
  allocate: (size: number) => Uint8Array,
): Uint8Array {
  // One chunk of the whole size spares zlib a list of chunks and their joining; it must be 64 bytes at least.
  const whole = { chunkSize: Math.max(size, 64), maxOutputLength: Math.max(size, 1) };
  let output: Uint8Array;
  let written = 0;
  switch (compression) {
    case 'gzip':
      try {
        output = gunzipSync(input, whole);
      } catch (error) {
        zlibError('gzip', error);
      }
      written = output.length;
      break;
    case 'zstd':
      try {
        output = zstdDecompressSync(input, {
          ...whole,
          params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
        });
      } catch (error) {
        zlibError('zstd', error);
      }
      written = output.length;
      break;
    case 'lz4':
      output = allocate(size);
      written = decodeLz4Legacy(input, output);
      break;
    case 'xz':
      output = allocate(size);
      written = decodeXz(input, output);
      break;
    case 'lzma':
      output = allocate(size);
      written = decodeLzmaAlone(input, output);
      break;
    case 'lzo':
      output = allocate(size);
      written = decodeLzop(input, output);
      break;
    case 'bzip2':
      throw new UnsupportedCompressionError('bzip2');
  }
  if (written !== size) {
    throw new CorruptDataError(compression, `it unpacks to ${written} bytes, and should to ${size}`);
  }
  return output;
}
