import { ConfigError } from '../errors.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { hex, readU64 } from './bytes.ts';
import { type ImageSource, readHead } from './image-source.ts';
import type { Placement } from './placement.ts';

/*
 * ELF executables as kernels: Linux's vmlinux, and bare-metal programs. After the System V ABI's chapters 4 and 5 (gabi 4.1) and, for
 * notes, Xen's public headers (xen/include/public/elfnote.h).
 */

const ELF_MAGIC = 0x464c_457f;
const EI_CLASS = 4;
const EI_DATA = 5;
const ELFCLASS32 = 1;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const EM_386 = 3;
const EM_X86_64 = 62;
const EM_AARCH64 = 183;
const EM_RISCV = 243;
const PT_LOAD = 1;
/** The path of a dynamic linker: programs have one, kernels do not. */
const PT_INTERP = 3;
const PT_NOTE = 4;

const EHDR32_SIZE = 52;
const EHDR64_SIZE = 64;
const PHDR32_SIZE = 32;
const PHDR64_SIZE = 56;
/** More program headers than any kernel has: Linux's vmlinux has five. */
const PHDR_COUNT_MAX = 256;
/** Larger than any kernel's notes: Linux's take half a KiB. */
const NOTE_SEGMENT_MAX = 1 << 20;

/** The 32-bit entry point for PVH; its description is 4 or 8 bytes of address. */
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const XEN_NOTE_NAME = 'Xen';
/** The name of the notes that Linux puts into every vmlinux (init/version.c: build salt, LTO). */
const LINUX_NOTE_NAME = 'Linux';

/** The entry point must be below this: the page tables of the 64-bit protocol, and PVH's 32 bits, reach no further. */
const ENTRY_MAX = 2 ** 32;

/** The bytes that `isElf` needs. */
export const ELF_HEAD_SIZE = EHDR64_SIZE;

/** A program header that is loaded. Bytes. */
export interface ElfSegment {
  readonly fileOffset: number;
  readonly fileSize: number;
  readonly physicalAddress: number;
  readonly memorySize: number;
}

/** What the headers and notes of an ELF kernel say. */
export interface ElfImage {
  readonly is64Bit: boolean;
  /** `e_entry`. Linux's vmlinux names a physical address here. */
  readonly entry: number;
  /** `PT_LOAD` headers that have any memory, in the file's order. */
  readonly segments: readonly ElfSegment[];
  /** Of the `XEN_ELFNOTE_PHYS32_ENTRY` note: where PVH begins. */
  readonly pvhEntry: number | undefined;
  /** Whether Linux's notes are there. */
  readonly isLinux: boolean;
}

/** Whether `head` begins as an ELF file. */
export function isElf(head: Uint8Array): boolean {
  return head.length >= 4 && new DataView(head.buffer, head.byteOffset).getUint32(0, true) === ELF_MAGIC;
}

const MACHINES: Readonly<Record<number, string>> = { [EM_AARCH64]: 'arm64', [EM_RISCV]: 'RISC-V' };

interface ElfHeader {
  readonly is64Bit: boolean;
  readonly entry: number;
  readonly phoff: number;
  readonly phnum: number;
  readonly phentsize: number;
}

function readHeader(source: ImageSource): ElfHeader {
  const where = source.name;
  const head = readHead(source, EHDR64_SIZE);
  const view = new DataView(head.buffer);
  const truncated = () =>
    new ConfigError('the ELF file is cut off in its header', { where, hint: 'copy or build it again' });
  if (head.length < EHDR32_SIZE) throw truncated();
  const elfClass = head[EI_CLASS];
  if ((elfClass !== ELFCLASS32 && elfClass !== ELFCLASS64) || head[EI_DATA] !== ELFDATA2LSB) {
    throw new ConfigError('the ELF file is not little-endian of 32 or 64 bits', {
      where,
      hint: 'use a kernel built for x86-64',
    });
  }
  const is64Bit = elfClass === ELFCLASS64;
  if (is64Bit && head.length < EHDR64_SIZE) throw truncated();
  const machine = view.getUint16(18, true);
  if (machine !== EM_X86_64 && machine !== EM_386) {
    throw new ConfigError(`the ELF file is for ${MACHINES[machine] ?? `machine ${machine}`}, not for x86`, {
      where,
      hint: 'use a kernel built for x86-64',
    });
  }
  const type = view.getUint16(16, true);
  if (type !== ET_EXEC && type !== ET_DYN) {
    throw new ConfigError('the ELF file is an object file or a core, not an executable', {
      where,
      hint: 'name the vmlinux or bzImage itself',
    });
  }
  return is64Bit
    ? {
        is64Bit,
        entry: readU64(view, 24),
        phoff: readU64(view, 32),
        phentsize: view.getUint16(54, true),
        phnum: view.getUint16(56, true),
      }
    : {
        is64Bit,
        entry: view.getUint32(24, true),
        phoff: view.getUint32(28, true),
        phentsize: view.getUint16(42, true),
        phnum: view.getUint16(44, true),
      };
}

interface Notes {
  pvhEntry: number | undefined;
  isLinux: boolean;
}

/** Reads the notes of one segment (gabi 4.1 "Note Section"); they are padded to `alignment`, 4 bytes or 8. */
function readNotes(bytes: Uint8Array, alignment: number, notes: Notes): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const mask = alignment - 1;
  for (let at = 0; at + 12 <= bytes.length; ) {
    const nameSize = view.getUint32(at, true);
    const descriptionSize = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const nameAt = at + 12;
    // Both sizes are below the segment's, or the note is cut off: their sum cannot overflow.
    if (nameSize > bytes.length || descriptionSize > bytes.length) return;
    const descriptionAt = (nameAt + nameSize + mask) & ~mask;
    const next = (descriptionAt + descriptionSize + mask) & ~mask;
    if (descriptionAt + descriptionSize > bytes.length) return;
    const name = Buffer.from(bytes.buffer, bytes.byteOffset + nameAt, Math.max(nameSize - 1, 0)).toString('latin1');
    if (name === LINUX_NOTE_NAME) notes.isLinux = true;
    if (name === XEN_NOTE_NAME && type === XEN_ELFNOTE_PHYS32_ENTRY) {
      if (descriptionSize >= 8) notes.pvhEntry = readU64(view, descriptionAt);
      else if (descriptionSize >= 4) notes.pvhEntry = view.getUint32(descriptionAt, true);
    }
    at = next;
  }
}

/**
 * Reads and checks the headers of an ELF kernel; reads nothing else but its notes.
 * @throws ConfigError
 */
export function parseElf(source: ImageSource): ElfImage {
  const where = source.name;
  const header = readHeader(source);
  const { is64Bit, entry, phoff, phnum } = header;
  const entrySize = is64Bit ? PHDR64_SIZE : PHDR32_SIZE;
  if (phnum === 0) {
    throw new ConfigError('the ELF file has no program headers', { where, hint: 'link it as an executable' });
  }
  if (header.phentsize !== entrySize || phnum > PHDR_COUNT_MAX) {
    throw new ConfigError(`the ELF file has odd program headers (${phnum} of ${header.phentsize} bytes)`, { where });
  }
  if (phoff + phnum * entrySize > source.size) {
    throw new ConfigError('the ELF file is cut off in its program headers', { where, hint: 'copy or build it again' });
  }
  const table = new Uint8Array(phnum * entrySize);
  source.readInto(table, 0, phoff, table.length);
  const view = new DataView(table.buffer);
  const segments: ElfSegment[] = [];
  const notes: Notes = { pvhEntry: undefined, isLinux: false };
  for (let at = 0; at < table.length; at += entrySize) {
    const type = view.getUint32(at, true);
    if (type === PT_INTERP) {
      throw new ConfigError('this is a program for an operating system, not a kernel', {
        where,
        hint: 'name a vmlinux or a bzImage',
      });
    }
    if (type !== PT_LOAD && type !== PT_NOTE) continue;
    const segment: ElfSegment = is64Bit
      ? {
          fileOffset: readU64(view, at + 8),
          physicalAddress: readU64(view, at + 24),
          fileSize: readU64(view, at + 32),
          memorySize: readU64(view, at + 40),
        }
      : {
          fileOffset: view.getUint32(at + 4, true),
          physicalAddress: view.getUint32(at + 12, true),
          fileSize: view.getUint32(at + 16, true),
          memorySize: view.getUint32(at + 20, true),
        };
    if (segment.fileOffset + segment.fileSize > source.size) {
      throw new ConfigError(
        `the ELF file is cut off: a segment ends at byte ${segment.fileOffset + segment.fileSize} of ${source.size}`,
        { where, hint: 'copy or build it again' },
      );
    }
    if (type === PT_LOAD) {
      if (segment.fileSize > segment.memorySize) {
        throw new ConfigError('the ELF file has a segment that is larger in the file than in memory', { where });
      }
      if (segment.memorySize > 0) segments.push(segment);
    } else if (segment.fileSize <= NOTE_SEGMENT_MAX) {
      const bytes = new Uint8Array(segment.fileSize);
      source.readInto(bytes, 0, segment.fileOffset, bytes.length);
      const alignment = is64Bit ? readU64(view, at + 48) : view.getUint32(at + 28, true);
      readNotes(bytes, alignment === 8 ? 8 : 4, notes);
    }
  }
  if (segments.length === 0) {
    throw new ConfigError('the ELF file has nothing to load', { where, hint: 'link it as an executable' });
  }
  return { is64Bit, entry, segments, pvhEntry: notes.pvhEntry, isLinux: notes.isLinux };
}

/**
 * Whether loading may move each segment down from where the file lies in guest memory, at `fileAddress`, without overwriting one that
 * is still to be moved.
 */
export function canLoadInPlace(image: ElfImage, fileAddress: number): boolean {
  let end = 0;
  for (const segment of byFileOffset(image.segments)) {
    if (segment.fileSize === 0) continue;
    if (segment.fileOffset < end || segment.physicalAddress > fileAddress + segment.fileOffset) return false;
    end = segment.fileOffset + segment.fileSize;
  }
  return true;
}

function byFileOffset(segments: readonly ElfSegment[]): ElfSegment[] {
  return segments.toSorted((a, b) => a.fileOffset - b.fileOffset);
}

/**
 * Checks that an entry point lies in a loaded segment.
 * @throws ConfigError
 */
export function checkEntry(image: ElfImage, entry: number, what: string, where: string): void {
  const isInside = image.segments.some(
    (segment) => entry >= segment.physicalAddress && entry - segment.physicalAddress < segment.memorySize,
  );
  if (!isInside || entry >= ENTRY_MAX) {
    throw new ConfigError(`the ${what} ${hex(entry)} lies in no loaded segment`, {
      where,
      hint: 'link it at physical addresses',
    });
  }
}

/** Takes the places of all segments. @throws ConfigError where one is not RAM, or two overlap */
export function reserveElf(image: ElfImage, placement: Placement, where: string): void {
  for (const segment of image.segments) {
    placement.reserve('kernel', segment.physicalAddress, segment.memorySize, where);
  }
}

/**
 * Copies the segments to their physical addresses, and zeroes what a segment has in memory beyond the file. Their places must have
 * been reserved, which checks them.
 */
export function loadElf(source: ImageSource, image: ElfImage, memory: GuestMemory): void {
  const segments = byFileOffset(image.segments);
  for (const { fileOffset, fileSize, physicalAddress, memorySize } of segments) {
    source.readInto(memory.bytes, memory.offsetOf(physicalAddress, memorySize), fileOffset, fileSize);
  }
  // Last, since in-place loading may have had a later segment's bytes here.
  for (const { fileSize, physicalAddress, memorySize } of segments) {
    const offset = memory.offsetOf(physicalAddress, memorySize);
    memory.bytes.fill(0, offset + fileSize, offset + memorySize);
  }
}
