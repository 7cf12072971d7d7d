/*
 * ACPI Machine Language, as much as a DSDT of devices needs (ACPI 6.5, chapter 20; resources: chapter 6.4). Every function gives the
 * bytes of one object, in its shortest encoding: the guest interprets them.
 */

/** Encoded AML. */
export type Aml = readonly number[];

/** §20.2.1 to §20.2.5: opcodes and prefixes. */
const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const PACKAGE_OP = 0x12;
const EXT_OP_PREFIX = 0x5b;
const DEVICE_OP = 0x82;

const bytes16 = (value: number): Aml => [value & 0xff, (value >>> 8) & 0xff];
const bytes32 = (value: number): Aml => [...bytes16(value), ...bytes16(value >>> 16)];

/** One segment of a name: 4 characters, filled up with `_`. */
function nameSegment(label: string): Aml {
  if (label.length > 4) throw new RangeError(`no AML name segment: ${label}`);
  return [...Buffer.from(label.padEnd(4, '_'), 'latin1')];
}

/** §20.2.4: the length of a package, which counts its own bytes. */
function withPackageLength(body: Aml): Aml {
  if (body.length + 1 <= 0x3f) return [body.length + 1, ...body];
  for (let more = 1; more <= 3; more++) {
    const length = body.length + 1 + more;
    if (length >= 2 ** (4 + 8 * more)) continue;
    const encoded = [(more << 6) | (length & 0xf)];
    for (let i = 0; i < more; i++) encoded.push((length >>> (4 + 8 * i)) & 0xff);
    return [...encoded, ...body];
  }
  throw new RangeError('AML package is too long');
}

/** An unsigned integer below 2³². */
export function integer(value: number): Aml {
  if (value === 0) return [ZERO_OP];
  if (value === 1) return [ONE_OP];
  if (value < 0x100) return [BYTE_PREFIX, value];
  if (value < 0x1_0000) return [WORD_PREFIX, ...bytes16(value)];
  return [DWORD_PREFIX, ...bytes32(value)];
}

/** An ASCII string. */
export function string(text: string): Aml {
  return [STRING_PREFIX, ...Buffer.from(text, 'latin1'), 0];
}

/** A Plug and Play id (`PNP0501`) as the integer that ASL's `EISAID` makes: three letters of 5 bits, four hexadecimal digits. */
export function eisaId(id: string): Aml {
  const letter = (i: number) => id.charCodeAt(i) - 0x40;
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = Number.parseInt(id.slice(3), 16);
  // Big-endian both.
  return [DWORD_PREFIX, vendor >>> 8, vendor & 0xff, product >>> 8, product & 0xff];
}

/** `Name (name, value)` */
export function name(label: string, value: Aml): Aml {
  return [NAME_OP, ...nameSegment(label), ...value];
}

/** `Package () {…}` */
export function pkg(...elements: Aml[]): Aml {
  return [PACKAGE_OP, ...withPackageLength([elements.length, ...elements.flat()])];
}

/** `Scope (label) {…}` */
export function scope(label: string, ...terms: Aml[]): Aml {
  return [SCOPE_OP, ...withPackageLength([...nameSegment(label), ...terms.flat()])];
}

/** `Device (label) {…}` */
export function device(label: string, ...terms: Aml[]): Aml {
  return [EXT_OP_PREFIX, DEVICE_OP, ...withPackageLength([...nameSegment(label), ...terms.flat()])];
}

/** `ResourceTemplate () {…}`: a buffer of descriptors, closed by an end tag (§6.4.2.9; its check sum 0 counts as right). */
export function resourceTemplate(...descriptors: Aml[]): Aml {
  const body = [...descriptors.flat(), 0x79, 0];
  return [BUFFER_OP, ...withPackageLength([...integer(body.length), ...body])];
}

/** `IO (Decode16, port, port, 1, count)`, §6.4.2.5 */
export function ioPorts(port: number, count: number): Aml {
  return [0x47, 1, ...bytes16(port), ...bytes16(port), 1, count];
}

/** `IRQNoFlags () {irq}`, §6.4.2.1: edge, active high, not shared. ISA interrupts only. */
export function isaIrq(irq: number): Aml {
  return [0x22, ...bytes16(1 << irq)];
}

/** `Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {gsi}`, §6.4.3.6 */
export function edgeInterrupt(gsi: number): Aml {
  return [0x89, ...bytes16(6), 0b0011, 1, ...bytes32(gsi)];
}

/** `Memory32Fixed (ReadWrite, address, size)`, §6.4.3.4 */
export function memory32(address: number, size: number): Aml {
  return [0x86, ...bytes16(9), 1, ...bytes32(address), ...bytes32(size)];
}

/** Flags of an address space descriptor (§6.4.3.5): its ends are fixed, decoding is positive, it is a producer. */
const FIXED_RANGE = 0b1100;
/** Type-specific flags: memory is read-write and not cacheable (§6.4.3.5.5); I/O is all of the range (§6.4.3.5.6). */
const MEMORY_READ_WRITE = 0b1;
const IO_ENTIRE_RANGE = 0b11;

/** `WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, first, last, 0, count)` */
export function busRange(first: number, last: number): Aml {
  return wordSpace(2, 0, first, last);
}

/** `WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, first, last, 0, count)` */
export function ioRange(first: number, last: number): Aml {
  return wordSpace(1, IO_ENTIRE_RANGE, first, last);
}

function wordSpace(type: number, typeFlags: number, first: number, last: number): Aml {
  const fields = [0, first, last, 0, last - first + 1].flatMap(bytes16);
  return [0x88, ...bytes16(3 + fields.length), type, FIXED_RANGE, typeFlags, ...fields];
}

/** `DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0, first, last, 0, size)` */
export function memoryRange(first: number, size: number): Aml {
  const fields = [0, first, first + size - 1, 0, size].flatMap(bytes32);
  return [0x87, ...bytes16(3 + fields.length), 0, FIXED_RANGE, MEMORY_READ_WRITE, ...fields];
}
