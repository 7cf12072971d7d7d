import { execFileSync } from 'node:child_process';

/** Runs a program on `input`; gives what it writes. @throws with its own words where it fails */
export function pipe(program: string, args: readonly string[], input: Uint8Array): Buffer {
  return execFileSync(program, args, { input, maxBuffer: 2 ** 30, stdio: ['pipe', 'pipe', 'pipe'] });
}

export interface KernelCompressor {
  readonly config: string;
  readonly program: string;
  readonly args: readonly string[];
  /** Whether the build appends the unpacked size. */
  readonly appendsSize: boolean;
}

/** How the kernel's build compresses: scripts/Makefile.lib and scripts/xz_wrap.sh (6.1; newer ones ask xz for more). */
export const KERNEL_COMPRESSORS: readonly KernelCompressor[] = [
  { config: 'CONFIG_KERNEL_GZIP', program: 'gzip', args: ['-n', '-f', '-9'], appendsSize: false },
  { config: 'CONFIG_KERNEL_LZMA', program: 'lzma', args: ['-9'], appendsSize: true },
  {
    config: 'CONFIG_KERNEL_XZ',
    program: 'xz',
    args: ['--check=crc32', '--x86', '--lzma2=,dict=32MiB'],
    appendsSize: true,
  },
  {
    config: 'CONFIG_KERNEL_XZ since 6.12',
    program: 'xz',
    args: ['--check=crc32', '--threads=1', '--x86', '--lzma2=,dict=128MiB'],
    appendsSize: true,
  },
  { config: 'CONFIG_KERNEL_LZO', program: 'lzop', args: ['-9'], appendsSize: true },
  { config: 'CONFIG_KERNEL_LZ4', program: 'lz4', args: ['-l', '-9', '-', '-'], appendsSize: true },
  { config: 'CONFIG_KERNEL_ZSTD', program: 'zstd', args: ['-22', '--ultra'], appendsSize: true },
];
