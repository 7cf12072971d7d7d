import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';

/*
 * Kernel images made by hand, from the specifications and not with the code under test. Each builder takes what a test wants to be odd.
 */

export interface Segment {
  readonly address: number;
  readonly data: Uint8Array;
  /** Default: the data's size. */
  readonly memorySize?: number;
}

export interface Note {
  readonly name: string;
  readonly type: number;
  readonly description: Uint8Array;
}

export interface ElfOptions {
  readonly is64Bit?: boolean;
  readonly entry?: number;
  readonly segments: readonly Segment[];
  readonly notes?: readonly Note[];
  /** Of the note segment: 4 or 8. */
  readonly noteAlignment?: number;
  readonly machine?: number;
  readonly type?: number;
  /** Named parts of segments; only 64-bit files get section headers. */
  readonly sections?: readonly Section[];
}

export interface Section {
  readonly name: string;
  /** The index of its segment. */
  readonly segment: number;
  readonly offset: number;
  readonly size: number;
}

const pad = (size: number, alignment: number) => Math.ceil(size / alignment) * alignment;

function noteBytes({ name, type, description }: Note, alignment: number): Buffer {
  const nameSize = name.length + 1;
  const descriptionAt = pad(12 + nameSize, alignment);
  const note = Buffer.alloc(pad(descriptionAt + description.length, alignment));
  note.writeUInt32LE(nameSize, 0);
  note.writeUInt32LE(description.length, 4);
  note.writeUInt32LE(type, 8);
  note.write(name, 12, 'latin1');
  note.set(description, descriptionAt);
  return note;
}

/** `XEN_ELFNOTE_PHYS32_ENTRY` */
export function pvhNote(entry: number, size: 4 | 8 = 4): Note {
  const description = Buffer.alloc(size);
  description.writeUInt32LE(entry, 0);
  return { name: 'Xen', type: 18, description };
}

/** `LINUX_ELFNOTE_BUILD_SALT` */
export const linuxNote: Note = { name: 'Linux', type: 0x100, description: Buffer.from('6.1.0\0\0\0') };

/** An ELF executable: header, program headers, then each segment's bytes on a boundary of 4 KiB. */
export function makeElf(options: ElfOptions): Buffer {
  const { is64Bit = true, segments, notes = [], noteAlignment = 4, type = 2 } = options;
  const machine = options.machine ?? (is64Bit ? 62 : 3);
  const entry = options.entry ?? segments[0]!.address;
  const headerSize = is64Bit ? 64 : 52;
  const entrySize = is64Bit ? 56 : 32;
  const parts: {
    type: number;
    offset: number;
    address: number;
    data: Uint8Array;
    memorySize: number;
    align: number;
  }[] = [];
  let at = 4096;
  const add = (partType: number, data: Uint8Array, address: number, memorySize: number, align: number) => {
    parts.push({ type: partType, offset: at, address, data, memorySize, align });
    at = pad(at + data.length, 4096);
  };
  for (const segment of segments) {
    add(1, segment.data, segment.address, segment.memorySize ?? segment.data.length, 4096);
  }
  if (notes.length > 0) {
    const data = Buffer.concat(notes.map((note) => noteBytes(note, noteAlignment)));
    add(4, data, 0, data.length, noteAlignment);
  }
  const file = Buffer.alloc(at);
  file.set([0x7f, 0x45, 0x4c, 0x46, is64Bit ? 2 : 1, 1, 1]);
  file.writeUInt16LE(type, 16);
  file.writeUInt16LE(machine, 18);
  file.writeUInt32LE(1, 20);
  if (is64Bit) {
    file.writeBigUInt64LE(BigInt(entry), 24);
    file.writeBigUInt64LE(BigInt(headerSize), 32);
    file.writeUInt16LE(headerSize, 52);
    file.writeUInt16LE(entrySize, 54);
    file.writeUInt16LE(parts.length, 56);
  } else {
    file.writeUInt32LE(entry, 24);
    file.writeUInt32LE(headerSize, 28);
    file.writeUInt16LE(headerSize, 40);
    file.writeUInt16LE(entrySize, 42);
    file.writeUInt16LE(parts.length, 44);
  }
  for (const [i, part] of parts.entries()) {
    const header = headerSize + i * entrySize;
    file.writeUInt32LE(part.type, header);
    const fields = [part.offset, part.address, part.address, part.data.length, part.memorySize];
    if (is64Bit) {
      for (const [j, value] of fields.entries()) file.writeBigUInt64LE(BigInt(value), header + 8 + 8 * j);
      file.writeBigUInt64LE(BigInt(part.align), header + 48);
    } else {
      for (const [j, value] of fields.entries()) file.writeUInt32LE(value, header + 4 + 4 * j);
      file.writeUInt32LE(part.align, header + 28);
    }
    file.set(part.data, part.offset);
  }
  if (options.sections === undefined) return file;
  const places = options.sections.map(({ segment, offset, size }) => ({ at: parts[segment]!.offset + offset, size }));
  return Buffer.concat([file, sectionTable(file, options.sections, places)]);
}

/** The section names and the section headers, which go behind the file; the ELF header is told where. */
function sectionTable(
  file: Buffer,
  sections: readonly Section[],
  places: readonly { readonly at: number; readonly size: number }[],
): Buffer {
  const names = Buffer.from(`\0${[...sections.map(({ name }) => name), '.shstrtab'].join('\0')}\0`, 'latin1');
  const table = Buffer.alloc((sections.length + 2) * 64);
  for (const [i, name] of [...sections.map((section) => section.name), '.shstrtab'].entries()) {
    const header = (i + 1) * 64;
    const place = places[i] ?? { at: file.length, size: names.length };
    table.writeUInt32LE(names.indexOf(`${name}\0`), header);
    table.writeBigUInt64LE(BigInt(place.at), header + 24);
    table.writeBigUInt64LE(BigInt(place.size), header + 32);
  }
  const tableAt = pad(file.length + names.length, 8);
  file.writeBigUInt64LE(BigInt(tableAt), 40);
  file.writeUInt16LE(64, 58);
  file.writeUInt16LE(sections.length + 2, 60);
  file.writeUInt16LE(sections.length + 1, 62);
  return Buffer.concat([names, Buffer.alloc(tableAt - file.length - names.length), table]);
}

export interface BzImageOptions {
  /** The payload as it is to stand in the file, its appended size included. */
  readonly payload: Uint8Array;
  readonly version?: number;
  readonly setupSects?: number;
  readonly loadflags?: number;
  readonly xloadflags?: number;
  readonly cmdlineSize?: number;
  readonly initrdAddressMax?: number;
  readonly preferredAddress?: number;
  readonly initSize?: number;
}

/** Where the payload begins in the protected-mode kernel: after the code that would unpack it. */
export const PAYLOAD_OFFSET = 0x2cc;

/** A bzImage as Linux's build lays it out (arch/x86/boot/header.S). */
export function makeBzImage(options: BzImageOptions): Buffer {
  const setupSects = options.setupSects ?? 27;
  const kernel = ((setupSects || 4) + 1) * 512;
  const file = Buffer.alloc(pad(kernel + PAYLOAD_OFFSET + options.payload.length, 16));
  file[0x1f1] = setupSects;
  file.writeUInt32LE((file.length - kernel) / 16, 0x1f4);
  file.writeUInt16LE(0xaa55, 0x1fe);
  file.set([0xeb, 0x6a], 0x200);
  file.write('HdrS', 0x202, 'latin1');
  file.writeUInt16LE(options.version ?? 0x20f, 0x206);
  file[0x211] = options.loadflags ?? 1;
  file.writeUInt32LE(0x100000, 0x214);
  file.writeUInt32LE(options.initrdAddressMax ?? 0x7fffffff, 0x22c);
  file.writeUInt32LE(0x200000, 0x230);
  file[0x234] = 1;
  file[0x235] = 21;
  file.writeUInt16LE(options.xloadflags ?? 0x3f, 0x236);
  file.writeUInt32LE(options.cmdlineSize ?? 2047, 0x238);
  file.writeUInt32LE(PAYLOAD_OFFSET, 0x248);
  file.writeUInt32LE(options.payload.length, 0x24c);
  file.writeBigUInt64LE(BigInt(options.preferredAddress ?? 0x1000000), 0x258);
  file.writeUInt32LE(options.initSize ?? 0x800000, 0x260);
  // The protected-mode kernel: something to recognise, its 64-bit entry point at 0x200.
  file.fill(0x90, kernel, kernel + 0x200);
  file.fill(0xf4, kernel + 0x200, kernel + PAYLOAD_OFFSET);
  file.set(options.payload, kernel + PAYLOAD_OFFSET);
  return file;
}

/** What the kernel's build appends (scripts/Makefile.lib, `size_append`). */
export function withSize(packed: Uint8Array, size: number): Buffer {
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(size, 0);
  return Buffer.concat([packed, tail]);
}

/** A directory for one test's files, gone when it ends. */
export function scratch(t: ExecutionContext): (name: string, data: Uint8Array | string) => string {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-boot-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return (name, data) => {
    const path = join(directory, name);
    writeFileSync(path, data);
    return path;
  };
}

/** Bytes that differ from place to place: `seed` and position in every four of them. */
export function pattern(size: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = (i >>> ((i & 3) * 8)) + seed * 29 + 1;
  return bytes;
}
