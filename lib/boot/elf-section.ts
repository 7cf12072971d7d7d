import { readU64 } from './bytes.ts';
import type { ElfImage } from './elf.ts';
import type { ImageSource } from './image-source.ts';

/*
 * ELF's section headers (gabi 4.1, chapter 4, "Sections"), of 64-bit files. Loading needs none of them; they say where in a loaded
 * kernel something is. So where they are missing or odd, there is just no answer.
 */

const EHDR64_SIZE = 64;
const SHDR64_SIZE = 64;
const SHN_COUNT_MAX = 65_535;
const NAME_TABLE_MAX = 1 << 20;

/** A section in memory, once the kernel is loaded. Bytes. */
export interface LoadedSection {
  readonly physicalAddress: number;
  readonly size: number;
}

/** Finds a section by its name, and where loading puts it. */
export function findSection(source: ImageSource, image: ElfImage, name: string): LoadedSection | undefined {
  if (!image.is64Bit || source.size < EHDR64_SIZE) return undefined;
  const read = (offset: number, size: number): DataView | undefined => {
    if (offset + size > source.size) return undefined;
    const bytes = new Uint8Array(size);
    source.readInto(bytes, 0, offset, size);
    return new DataView(bytes.buffer);
  };
  const header = read(0, EHDR64_SIZE)!;
  const count = header.getUint16(60, true);
  const namesIndex = header.getUint16(62, true);
  if (header.getUint16(58, true) !== SHDR64_SIZE || namesIndex >= count || count > SHN_COUNT_MAX) return undefined;
  const sections = read(readU64(header, 40), count * SHDR64_SIZE);
  if (sections === undefined) return undefined;
  const place = (index: number) => ({
    offset: readU64(sections, index * SHDR64_SIZE + 24),
    size: readU64(sections, index * SHDR64_SIZE + 32),
  });
  const namesAt = place(namesIndex);
  const names = namesAt.size <= NAME_TABLE_MAX ? read(namesAt.offset, namesAt.size) : undefined;
  if (names === undefined) return undefined;
  const wanted = Buffer.from(`${name}\0`, 'latin1');
  for (let index = 0; index < count; index++) {
    // Names share their ends: `.data` may be a part of `.init.data`.
    const nameAt = sections.getUint32(index * SHDR64_SIZE, true);
    if (nameAt + wanted.length > names.byteLength) continue;
    if (Buffer.from(names.buffer, nameAt, wanted.length).equals(wanted)) return loadedAt(image, place(index));
  }
  return undefined;
}

function loadedAt(
  image: ElfImage,
  place: { readonly offset: number; readonly size: number },
): LoadedSection | undefined {
  const segment = image.segments.find(
    ({ fileOffset, fileSize }) => place.offset >= fileOffset && place.offset + place.size <= fileOffset + fileSize,
  );
  if (segment === undefined) return undefined;
  return { physicalAddress: segment.physicalAddress + place.offset - segment.fileOffset, size: place.size };
}
