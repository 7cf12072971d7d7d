import { ConfigError } from '../errors.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { GIB } from '../memory/layout.ts';
import { hex } from './bytes.ts';
import type { BzImage } from './bzimage.ts';
import type { Compression } from './decompress/index.ts';
import { canLoadInPlace, checkEntry, type ElfImage, isElf, loadElf, parseElf, reserveElf } from './elf.ts';
import { findSection, type LoadedSection } from './elf-section.ts';
import { BytesSource, type ImageSource } from './image-source.ts';
import { kernelOf32Bits } from './kernel-file.ts';
import type { Placement } from './placement.ts';
import { ENTRY_64_OFFSET } from './setup-header.ts';

/** How the kernel is entered. */
export type BootProtocol = 'linux64' | 'pvh';

/** A kernel in guest memory. */
export interface LoadedKernel {
  readonly protocol: BootProtocol;
  /** The address of its first instruction. */
  readonly entry: number;
  /** Where a bzImage that unpacks itself was loaded; else 0. */
  readonly code32Start: number;
  /** Its read-only data, where that is known. */
  readonly rodata: LoadedSection | undefined;
}

/** Where page tables reach, and PVH's registers. */
const ENTRY_LIMIT = 4 * GIB;
/** More than any kernel unpacks to. Guards against a header that promises the world. */
const UNPACKED_SIZE_MAX = GIB;
/** The kernel's build appends the unpacked size to the payload (scripts/Makefile.lib, `size_append`); gzip has it there by itself. */
const APPENDED_SIZE = 4;

/**
 * Loads an ELF kernel.
 * @param requested the protocol that the user asks for; `auto` takes Linux's own for Linux, PVH for others that offer it
 * @throws ConfigError
 */
export function loadElfKernel(
  source: ImageSource,
  elf: ElfImage,
  requested: BootProtocol | 'auto',
  memory: GuestMemory,
  placement: Placement,
): LoadedKernel {
  const { protocol, entry } = chooseEntry(elf, requested, source.name);
  reserveElf(elf, placement, source.name);
  // Before loading, which may overwrite the section headers where the file is in guest memory.
  const rodata = findSection(source, elf, '.rodata');
  loadElf(source, elf, memory);
  return { protocol, entry, code32Start: 0, rodata };
}

function chooseEntry(
  elf: ElfImage,
  requested: BootProtocol | 'auto',
  where: string,
): { readonly protocol: BootProtocol; readonly entry: number } {
  // Linux's own protocol spares the guest PVH's way through 32-bit code, and tells it more.
  const automatic = elf.is64Bit && (elf.isLinux || elf.pvhEntry === undefined) ? 'linux64' : 'pvh';
  const protocol = requested === 'auto' ? automatic : requested;
  if (protocol === 'pvh') {
    if (elf.pvhEntry === undefined) {
      throw new ConfigError(
        elf.is64Bit ? 'the kernel has no PVH entry point' : 'the kernel is a 32-bit one, without a PVH entry point',
        {
          where,
          hint: elf.is64Bit ? 'enable CONFIG_PVH in it' : 'use a kernel built for x86-64',
        },
      );
    }
    checkEntry(elf, elf.pvhEntry, 'PVH entry point', where);
    return { protocol, entry: elf.pvhEntry };
  }
  if (!elf.is64Bit) throw kernelOf32Bits(where);
  checkEntry(elf, elf.entry, 'entry point', where);
  return { protocol, entry: elf.entry };
}

/**
 * Loads a bzImage: unpacks the ELF kernel inside it where there is a decoder, since the host is faster than the guest at that, and loads
 * that; else loads the whole, which then unpacks itself. The kernel stays at the address that it was linked for, so the relocations
 * that follow it in the payload are not needed.
 * @throws ConfigError
 */
export async function loadBzImage(
  source: ImageSource,
  bzImage: BzImage,
  requested: BootProtocol | 'auto',
  memory: GuestMemory,
  placement: Placement,
): Promise<LoadedKernel> {
  const { preferredAddress, initSize } = bzImage;
  // What it will need at its place is known before it is unpacked.
  if (initSize > 0 && !placement.isUsable(preferredAddress, preferredAddress + initSize)) {
    placement.reserve('kernel', preferredAddress, initSize, source.name);
  }
  const unpacked = await unpackPayload(source, bzImage, memory, placement);
  if (unpacked === undefined) return loadSelfUnpacking(source, bzImage, requested, memory, placement);
  const { bytes, address } = unpacked;
  const elfSource = new BytesSource(source.name, bytes);
  if (!isElf(bytes)) {
    throw new ConfigError('the bzImage holds no ELF kernel', { where: source.name, hint: 'copy or download it again' });
  }
  const elf = parseElf(elfSource);
  if (!elf.is64Bit) throw kernelOf32Bits(source.name);
  if (address < 0) return loadElfKernel(elfSource, elf, protocolOf(requested), memory, placement);
  if (!canLoadInPlace(elf, address)) {
    const moved = new BytesSource(source.name, bytes.slice());
    bytes.fill(0);
    return loadElfKernel(moved, elf, protocolOf(requested), memory, placement);
  }
  const kernel = loadElfKernel(elfSource, elf, protocolOf(requested), memory, placement);
  clearOutside(elf, memory, address, bytes.length);
  return kernel;
}

/** What is in a bzImage is Linux, whatever notes it has. */
function protocolOf(requested: BootProtocol | 'auto'): BootProtocol {
  return requested === 'auto' ? 'linux64' : requested;
}

/**
 * Unpacks the payload, into guest memory at the kernel's place where there is room, from where it moves to its places segment by
 * segment: that spares a second copy in memory.
 *
 * @returns the bytes, and where they are in guest memory (-1: they are not); `undefined` where there is no decoder
 */
async function unpackPayload(
  source: ImageSource,
  bzImage: BzImage,
  memory: GuestMemory,
  placement: Placement,
): Promise<{ readonly bytes: Uint8Array; readonly address: number } | undefined> {
  const { payloadOffset, payloadSize, preferredAddress } = bzImage;
  if (payloadSize <= APPENDED_SIZE) return undefined;
  // Lazily: decoders and zlib are not needed for an ELF kernel.
  const { CorruptDataError, decompress, detectCompression, UnsupportedCompressionError } = await import(
    './decompress/index.ts'
  );
  const packed = new Uint8Array(payloadSize);
  source.readInto(packed, 0, payloadOffset, payloadSize);
  const compression = detectCompression(packed);
  if (compression === undefined) return undefined;
  const size = new DataView(packed.buffer).getUint32(payloadSize - APPENDED_SIZE, true);
  const damaged = (what: string, cause?: unknown) =>
    new ConfigError(`the bzImage is damaged: ${what}`, {
      where: source.name,
      hint: 'copy or download it again',
      cause,
    });
  if (size === 0 || size > UNPACKED_SIZE_MAX) throw damaged(`it says that it unpacks to ${size} bytes`);
  let address = -1;
  const allocate = (length: number): Uint8Array => {
    const isFree =
      placement.isUsable(preferredAddress, preferredAddress + length) &&
      placement.occupant(preferredAddress, preferredAddress + length) === undefined;
    if (!isFree) return new Uint8Array(length);
    address = preferredAddress;
    const offset = memory.offsetOf(address, length);
    return memory.bytes.subarray(offset, offset + length);
  };
  try {
    return { bytes: decompress(compression, withoutSize(packed, compression), size, allocate), address };
  } catch (error) {
    if (error instanceof UnsupportedCompressionError) return undefined;
    if (error instanceof CorruptDataError) throw damaged(error.message, error);
    throw error;
  }
}

function withoutSize(packed: Uint8Array, compression: Compression): Uint8Array {
  return compression === 'gzip' ? packed : packed.subarray(0, packed.length - APPENDED_SIZE);
}

/** Zeroes what unpacking left in guest memory outside the kernel's segments. */
function clearOutside(elf: ElfImage, memory: GuestMemory, start: number, size: number): void {
  const end = start + size;
  let at = start;
  const clear = (until: number) => {
    if (until > at) memory.bytes.fill(0, memory.offsetOf(at, until - at), memory.offsetOf(at, until - at) + until - at);
  };
  for (const segment of elf.segments.toSorted((a, b) => a.physicalAddress - b.physicalAddress)) {
    clear(Math.min(segment.physicalAddress, end));
    at = Math.max(at, segment.physicalAddress + segment.memorySize);
  }
  clear(end);
}

/** Loads the protected-mode kernel as it is, to be entered at its 64-bit entry point (boot.rst, "64-bit Boot Protocol"). */
function loadSelfUnpacking(
  source: ImageSource,
  bzImage: BzImage,
  requested: BootProtocol | 'auto',
  memory: GuestMemory,
  placement: Placement,
): LoadedKernel {
  const { preferredAddress, initSize, kernelOffset, kernelSize } = bzImage;
  const where = source.name;
  if (requested === 'pvh') {
    throw new ConfigError('the kernel inside the bzImage cannot be unpacked here, so PVH cannot start it', {
      where,
      hint: 'use its vmlinux',
    });
  }
  if (bzImage.has64BitEntry !== true) {
    throw new ConfigError('the bzImage has no 64-bit entry point', {
      where,
      hint: 'use Linux 3.8 or newer, built for x86-64',
    });
  }
  const size = Math.max(initSize, kernelSize);
  if (preferredAddress + size > ENTRY_LIMIT) {
    throw new ConfigError(`the kernel wants to lie at ${hex(preferredAddress)}, above 4 GiB`, { where });
  }
  placement.reserve('kernel', preferredAddress, size, where);
  source.readInto(memory.bytes, memory.offsetOf(preferredAddress, kernelSize), kernelOffset, kernelSize);
  return {
    protocol: 'linux64',
    entry: preferredAddress + ENTRY_64_OFFSET,
    code32Start: preferredAddress,
    rodata: undefined,
  };
}
