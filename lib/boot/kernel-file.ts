import { ConfigError } from '../errors.ts';
import { type BzImage, isBzImage, parseBzImage } from './bzimage.ts';
import { type ElfImage, isElf, parseElf } from './elf.ts';
import { type ImageSource, readHead } from './image-source.ts';
import { SETUP_HEADER_END_MAX } from './setup-header.ts';

/** A kernel file that mvm can start, by its headers. */
export type KernelFile =
  | { readonly kind: 'elf'; readonly elf: ElfImage }
  | { readonly kind: 'bzImage'; readonly bzImage: BzImage };

/** What people give instead of a kernel: where its magic bytes stand, and what to do. */
interface OtherFormat {
  readonly offset: number;
  readonly magic: readonly number[];
  readonly what: string;
  readonly hint: string;
}

const ascii = (text: string): number[] => Array.from(text, (character) => character.charCodeAt(0));
const USE_X86_64 = 'use a kernel built for x86-64: its vmlinux or bzImage';
const unpack = (tool: string) => `unpack it first: ${tool}`;

/** The more telling ones first. */
const OTHER_FORMATS: readonly OtherFormat[] = [
  { offset: 0x38, magic: ascii('ARM\x64'), what: 'a kernel for arm64', hint: USE_X86_64 },
  { offset: 0x38, magic: ascii('RSC\x05'), what: 'a kernel for RISC-V', hint: USE_X86_64 },
  { offset: 4, magic: ascii('zimg'), what: 'a compressed EFI kernel (EFI zboot)', hint: USE_X86_64 },
  { offset: 0, magic: ascii('MZ'), what: 'an EFI program, not a kernel image', hint: USE_X86_64 },
  { offset: 0, magic: [0x1f, 0x8b], what: 'a gzip file', hint: unpack('gunzip') },
  { offset: 0, magic: [0xfd, ...ascii('7zXZ'), 0], what: 'an xz file', hint: unpack('unxz') },
  { offset: 0, magic: [0x28, 0xb5, 0x2f, 0xfd], what: 'a zstd file', hint: unpack('unzstd') },
  { offset: 0, magic: [0x02, 0x21, 0x4c, 0x18], what: 'an lz4 file', hint: unpack('unlz4') },
  { offset: 0, magic: [0x04, 0x22, 0x4d, 0x18], what: 'an lz4 file', hint: unpack('unlz4') },
  { offset: 0, magic: ascii('BZh'), what: 'a bzip2 file', hint: unpack('bunzip2') },
  { offset: 0, magic: [0x27, 0x05, 0x19, 0x56], what: 'a U-Boot image', hint: USE_X86_64 },
  {
    offset: 0,
    magic: ascii('07070'),
    what: 'a cpio archive, as an initramfs is',
    hint: 'are kernel and initrd swapped?',
  },
  { offset: 0, magic: ascii('!<arch>'), what: 'an ar archive, as a .deb is', hint: 'take the kernel out of it' },
];

/**
 * Tells what a kernel file is, and reads and checks its headers: enough for `mvm check`, and the first step of loading.
 * @throws ConfigError where it is no kernel for x86, damaged, or cut off
 */
export function inspectKernel(source: ImageSource): KernelFile {
  const head = readHead(source, SETUP_HEADER_END_MAX);
  if (isElf(head)) return { kind: 'elf', elf: parseElf(source) };
  if (isBzImage(head)) {
    const bzImage = parseBzImage(source);
    if (bzImage.has64BitEntry === false) throw kernelOf32Bits(source.name);
    return { kind: 'bzImage', bzImage };
  }
  const other = OTHER_FORMATS.find(({ offset, magic }) => magic.every((byte, i) => head[offset + i] === byte));
  if (other !== undefined) {
    throw new ConfigError(`this is ${other.what}`, { where: source.name, hint: other.hint });
  }
  throw new ConfigError('this is no kernel: neither an ELF file nor a bzImage', {
    where: source.name,
    hint: 'name a vmlinux or a bzImage',
  });
}

export function kernelOf32Bits(where: string): ConfigError {
  return new ConfigError('the kernel is a 32-bit one', { where, hint: 'use a kernel built for x86-64' });
}
